"""Effects that several use cases share, each written once."""
