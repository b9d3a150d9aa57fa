"""Checking a profile by every reader that a run uses before it touches a board."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from infuse_cli.config import source
from infuse_cli.config.source import nodes
from infuse_cli.config.source.finding import at
from infuse_cli.errors import ProfileError

if TYPE_CHECKING:
    from infuse_cli.config.source import Finding, Reading
    from infuse_cli.settings import Settings

_KEY = "identity.certificate"


def check_profile(settings: Settings, named: str) -> Reading:
    """A profile with all that is wrong with it, its certificate profile included.

    Raises ProfileError where there is no such profile.
    """
    reading = source.read(named, settings.env)
    known = any(finding.key.startswith(_KEY) for finding in reading.findings)
    finding = None if known else _certificate(settings, reading)
    if finding is None:
        return reading
    return dataclasses.replace(reading, findings=(*reading.findings, finding))


def _certificate(settings: Settings, reading: Reading) -> Finding | None:
    identity = reading.profile.identity
    if identity.mode != "local-ca":
        return None
    from infuse_cli.pki.certificate_profile_files import resolve

    try:
        resolve(identity.certificate, settings.home)
    except ProfileError as error:
        return at(nodes.place(reading.tree, _KEY), _KEY, error.message, code=error.code)
    return None
