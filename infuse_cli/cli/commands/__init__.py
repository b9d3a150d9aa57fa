"""One module a command; each imports only the standard library and Typer at its top."""
