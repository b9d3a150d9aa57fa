"""What people see of results: one file a kind of result."""
