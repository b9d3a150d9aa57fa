"""Key derivation, sealing at rest, and where credentials come from; nothing is imported here."""
