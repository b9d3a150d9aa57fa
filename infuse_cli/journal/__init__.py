"""What was intended and what happened, durably: SQLite through SQLAlchemy Core."""
