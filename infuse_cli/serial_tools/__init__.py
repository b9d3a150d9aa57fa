"""One board over its serial port: identify, credentials, CSR, token, AT, console, check, slots.

Every change is stored in the journal before its first byte is sent, and once more when it ended.
"""
