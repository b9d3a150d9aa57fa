"""The version, written here so that it can be read without importing package metadata (40 ms)."""

__version__ = "0.1.0"
