"""What travels between a client and the virtual cloud, written down from the contract alone.

Requests forbid no field (as a server does), answers carry every field that the contract names.
"""

from __future__ import annotations

from infuse_cli.sim.wire._base import *  # noqa: F403
from infuse_cli.sim.wire.infuse import *  # noqa: F403
from infuse_cli.sim.wire.registry import *  # noqa: F403
