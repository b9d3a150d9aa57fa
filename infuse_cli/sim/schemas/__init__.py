"""What travels between a client and the virtual cloud, written down from
`docs/reference/interfaces/` alone, not from the client.

Requests forbid no field (as a server does), answers carry every field that those pages name.
"""

from __future__ import annotations

from infuse_cli.sim.schemas._base import *  # noqa: F403
from infuse_cli.sim.schemas.infuse import *  # noqa: F403
from infuse_cli.sim.schemas.registry import *  # noqa: F403
