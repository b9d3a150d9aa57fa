"""infuse: bring nRF9151 boards into the Infuse IoT cloud from a manufacturing line.

As a library: `Line` provisions boards, `CertificateAuthority` signs, `InfuseClient` and
`RegistryClient` speak to the clouds, `batch` registers files of devices, `Journal` is what
happened. They take `Settings` and a `Profile` (`load_profile`) as values, raise the errors of
`infuse_cli.errors`, and read neither arguments nor terminal. Everything is loaded at its first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from infuse_cli._version import __version__

if TYPE_CHECKING:
    from infuse_cli import batch, errors
    from infuse_cli.config.model import Profile
    from infuse_cli.config.source import load_profile
    from infuse_cli.line import Line, ResumeResult, RunResult, RunSetup
    from infuse_cli.provisioning.request import Options, ProvisionRequest
    from infuse_cli.public import CertificateAuthority, InfuseClient, Journal, RegistryClient
    from infuse_cli.settings import Settings
    from infuse_cli.types import Event, Secret

__all__ = [
    "CertificateAuthority",
    "Event",
    "InfuseClient",
    "Journal",
    "Line",
    "Options",
    "Profile",
    "ProvisionRequest",
    "RegistryClient",
    "ResumeResult",
    "RunResult",
    "RunSetup",
    "Secret",
    "Settings",
    "__version__",
    "batch",
    "errors",
    "load_profile",
]

_PLACES: Final = {
    "CertificateAuthority": "infuse_cli.public",
    "Event": "infuse_cli.types",
    "InfuseClient": "infuse_cli.public",
    "Journal": "infuse_cli.public",
    "Line": "infuse_cli.line",
    "Options": "infuse_cli.provisioning.request",
    "Profile": "infuse_cli.config.model",
    "ProvisionRequest": "infuse_cli.provisioning.request",
    "RegistryClient": "infuse_cli.public",
    "ResumeResult": "infuse_cli.provisioning.results",
    "RunResult": "infuse_cli.provisioning.results",
    "RunSetup": "infuse_cli.provisioning.request",
    "Secret": "infuse_cli.types",
    "Settings": "infuse_cli.settings",
    "load_profile": "infuse_cli.config.source",
}


def __getattr__(name: str) -> Any:
    if name in {"batch", "errors"}:
        return import_module(f"infuse_cli.{name}")
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(place), name)


def __dir__() -> list[str]:
    return __all__
