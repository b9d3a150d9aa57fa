"""One board over its serial port: identify, credentials, CSR, token, AT, console, check, slots."""
