"""The adapters of a batch, each built at its first use and closed together.

Nothing is sent by building one. Everything that a batch takes from other rooms is built here, so
that a test or another program can pass an object of the same shape instead.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import cached_property
from typing import TYPE_CHECKING, Final, Self

from infuse_cli.config.bench import load_bench, login_name
from infuse_cli.errors import ProfileError
from infuse_cli.text import plural

if TYPE_CHECKING:
    from infuse_cli.clock import RunClock
    from infuse_cli.cloud.infuse_api import InfuseClient
    from infuse_cli.cloud.registry_api import RegistryClient
    from infuse_cli.config import model as prof
    from infuse_cli.config.bench import Bench
    from infuse_cli.journal.store import SqliteJournal
    from infuse_cli.keys.credentials import Found
    from infuse_cli.keys.seal import BenchKeys, FileSealer
    from infuse_cli.settings import Settings


class Adapters:
    """Journal, credential and the two APIs of one profile; used in a `with`."""

    def __init__(self, settings: Settings, profile: prof.Profile, clock: RunClock) -> None:
        self.settings: Final = settings
        self.profile: Final = profile
        self._clock: Final = clock
        self._stack: Final = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @cached_property
    def bench(self) -> Bench:
        """What bench.yaml says. Raises ProfileError."""
        return load_bench(self.settings.home)

    @cached_property
    def journal(self) -> SqliteJournal:
        """The journal of this home, made where there is none. Raises JournalError."""
        from infuse_cli.journal.store import open_journal

        return self._stack.enter_context(
            open_journal(self.settings.home, station=self.bench.station)
        )

    @cached_property
    def credential(self) -> Found:
        """The credential of the profile's cloud. Raises CredentialError."""
        from infuse_cli.keys.credentials import credential_host, find_credential

        cloud = self.profile.cloud
        return find_credential(
            credential_host(cloud.base_url),
            env=self.settings.env,
            token_file=cloud.auth.token_file,
            home=self.settings.home,
        )

    @cached_property
    def cloud(self) -> InfuseClient:
        """The Infuse IoT API; a call gives up at the profile's `deadline_s`."""
        return self._connect(through_outages=False)

    @cached_property
    def patient_cloud(self) -> InfuseClient:
        """The same API for calls that all rows wait for; each has the profile's `outage_wait_s`."""
        return self._connect(through_outages=True)

    def _connect(self, *, through_outages: bool) -> InfuseClient:
        from infuse_cli.cloud.build import connect

        client = connect(
            self.profile.cloud,
            self.credential.secret,
            self._clock.between_tries,
            through_outages=through_outages,
        )
        self._stack.callback(client.close)
        return client

    def check_registry(self, named: int) -> None:
        """Raise ProfileError profile.invalid where `named` rows want a registry and none is set."""
        if self.profile.registry is None:
            raise ProfileError(
                "profile.invalid",
                f"{plural(named, 'row')} ask for a registration token by their name, and the"
                " profile names no registry",
                hint="Add registry.base_url to the profile, or leave the column `name` empty.",
            )

    def registry(self) -> RegistryClient:
        """The device registry. Raises ProfileError without one, CredentialError."""
        from infuse_cli.cloud.build import connect_registry
        from infuse_cli.keys.credentials import registry_credential

        if self.profile.registry is None:
            raise ProfileError("profile.invalid", "the profile names no registry")
        client = connect_registry(
            self.profile.registry,
            self.credential.secret,
            self._clock.between_tries,
            cloud=self.profile.cloud,
            own=registry_credential(self.settings.env),
        )
        self._stack.callback(client.close)
        return client


def existing_journal(settings: Settings) -> SqliteJournal:
    """The journal of this home. Raises JournalError journal.not-found where there is none."""
    from infuse_cli.journal.store import open_journal

    return open_journal(settings.home, operator=login_name(), create=False)


def sealing_keys(settings: Settings) -> BenchKeys:
    """Where this bench's sealing key is. Raises ProfileError."""
    from infuse_cli.keys.seal import bench_keys

    sealing = load_bench(settings.home).sealing
    return bench_keys(
        settings.home,
        {"key_file": sealing.key_file, "keyring": sealing.keyring},
        settings.env,
    )


def bench_sealer(settings: Settings, *, create: bool) -> FileSealer:
    """What seals this bench's secrets. Raises CredentialError credential.sealing-key."""
    from infuse_cli.keys.seal import load_sealer

    return load_sealer(sealing_keys(settings), create=create)
