"""Ways into the clouds and the journal for programs that use this package as a library.

Importing this costs little: what opens a network connection or a database is loaded at the first
call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from infuse_cli.ca.authority import CertificateAuthority as OpenCertificateAuthority
    from infuse_cli.clock import RunClock
    from infuse_cli.cloud.infuse_api import InfuseClient as OpenInfuseClient
    from infuse_cli.cloud.registry_api import RegistryClient as OpenRegistryClient
    from infuse_cli.config.model import Profile
    from infuse_cli.journal.store import SqliteJournal
    from infuse_cli.settings import Settings
    from infuse_cli.types import Secret


class InfuseClient:
    """The Infuse IoT API; `connect` gives a client."""

    @staticmethod
    def connect(
        settings: Settings, profile: Profile, clock: RunClock | None = None
    ) -> OpenInfuseClient:
        """A client of the profile's cloud, with the credential that the settings lead to.

        Nothing is sent yet. Waits between tries end when `clock.stop` is set. Raises
        CredentialError, ProfileError.
        """
        from infuse_cli import composition

        found = composition.find_cloud_credential(settings, profile)
        return composition.connect_cloud(profile, found, clock)


class RegistryClient:
    """The device registry's API; `connect` gives a client."""

    @staticmethod
    def connect(
        settings: Settings, profile: Profile, clock: RunClock | None = None
    ) -> OpenRegistryClient:
        """A client of the profile's registry, as `InfuseClient.connect`.

        Raises ProfileError profile.invalid where the profile names no registry.
        """
        from infuse_cli import composition
        from infuse_cli.errors import ProfileError

        found = composition.find_cloud_credential(settings, profile)
        client = composition.connect_registry(settings, profile, found, clock)
        if client is None:
            raise ProfileError("profile.invalid", "the profile names no registry")
        return client


class CertificateAuthority:
    """A local CA; `open` gives the one of a home."""

    @staticmethod
    def open(
        where: Settings | Path, ca: str | None = None, passphrase: Secret | None = None
    ) -> OpenCertificateAuthority:
        """The CA by its name or absolute folder, else the profile's, else `default`.

        Without a passphrase it comes from profile, keyring or prompt, once it is needed. Raises
        SignerError ca.not-found, ca.corrupt, UsageError.
        """
        from infuse_cli.ca import authority

        return authority.CertificateAuthority.open(where, ca, passphrase)


class Journal:
    """What was intended and what happened, in a home; `open` gives the open journal."""

    @staticmethod
    def open(home: Path, *, create: bool = False) -> SqliteJournal:
        """Open the journal of a home; use it in a `with` statement, or close it.

        With `create` home and journal are made as needed. Raises JournalError, of which
        journal.not-found where there is none.
        """
        from infuse_cli.journal.store import open_journal

        return open_journal(home, create=create)
