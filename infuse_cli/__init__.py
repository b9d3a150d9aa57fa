"""infuse: bring nRF9151 boards into the Infuse IoT cloud from a manufacturing line."""

from infuse_cli._version import __version__

__all__ = ["__version__"]
