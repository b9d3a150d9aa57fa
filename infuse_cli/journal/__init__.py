"""What was intended and what happened, durably (rules 20-25): SQLite through SQLAlchemy Core."""
