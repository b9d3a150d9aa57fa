"""Use cases of the local CA: init, import, renew, sign, issue, revoke, CRL, search, lint."""
