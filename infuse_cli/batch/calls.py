"""What the pool does with a row: one call to the cloud, or a few that belong together.

No journal, no decisions.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final, assert_never

import msgspec

from infuse_cli import api_types as api
from infuse_cli.batch.model import Do, Failed, Found, Minted, Named, Retired
from infuse_cli.errors import CloudError, InfuseError, ProfileError
from infuse_cli.provisioning.engine import bug
from infuse_cli.provisioning.steps.token import INTENT, place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from infuse_cli import ports
    from infuse_cli.batch.model import Answer, BatchParts, Job

_SETTLE_TRIES: Final = 3
_CONFLICT: Final = 409


class Listing:
    """A list of the registry on disk, read again when somebody needs it newer than it is; safe
    between threads.
    """

    def __init__(
        self,
        shelf: ports.Shelf,
        read: Callable[[], Iterable[Sequence[tuple[str, Any]]]],
        clock: ports.Clock,
    ) -> None:
        self._shelf: Final = shelf
        self._read: Final = read
        self._clock: Final = clock
        self._lock: Final = threading.Lock()
        self._at: float | None = None

    def get(self, key: str, not_before: float) -> bytes | None:
        """The newest value of a key, from a reading that began at `not_before` (monotonic seconds)
        or later.
        """
        with self._lock:
            if self._at is None or self._at < not_before:
                began = self._clock.monotonic()
                stamp = str(began)
                for page in self._read():
                    self._shelf.put(
                        (key_, msgspec.json.encode((stamp, value))) for key_, value in page
                    )
                self._at, self._stamp = began, stamp
            found = self._shelf.get(key)
        if found is None:
            return None
        stamp, value = msgspec.json.decode(found, type=tuple[str, msgspec.Raw])
        return (
            bytes(value) if stamp == self._stamp else None
        )  # of an older reading: it has gone since


class Caller:
    """Carries out what a job asks for; one for all threads of the pool."""

    def __init__(self, parts: BatchParts) -> None:
        self._parts: Final = parts
        self._cloud: Final = parts.cloud
        self._spec: Final = parts.profile.registry
        self._names: Final = Listing(parts.shelf(), self._name_pages, parts.clock)
        self._pending: Final = Listing(parts.shelf(), self._pending_pages, parts.clock)

    def carry_out(self, job: Job) -> Answer:
        """The answer of the cloud; an error is an answer too."""
        try:
            return self._call(job)
        except InfuseError as error:
            return Failed(error)
        except Exception as error:  # noqa: BLE001 - one row's surprise must not end the batch
            return Failed(bug(error))

    def _call(self, job: Job) -> Answer:
        match job.do:
            case Do.LOOK:
                return Found(self._cloud.device_by_mcu_id(self._parts.resolved.soc, job.row.mcu_id))
            case Do.CREATE:
                return self._create_or_look(job)
            case Do.UPDATE:
                return Found(self._cloud.patch_device_metadata(_device(job).id, job.updated))
            case Do.MINT:
                return Minted(self._mint(job))
            case Do.NAME:
                found = self._names.get(job.row.name or "", job.not_before)
                return Named(
                    None if found is None else msgspec.json.decode(found, type=api.RegistryDevice)
                )
            case Do.RETIRE:
                return self._retire(job)
            case Do.HOLD:
                raise AssertionError("a row that another run has is not worked on")
        assert_never(job.do)

    def _create_or_look(self, job: Job) -> Found:
        """A 409 means that somebody was faster, or that metadata or device id clash with another
        device.
        """
        try:
            return Found(self._create(job), made=True)
        except CloudError as error:
            if error.status != _CONFLICT or error.unknown:
                raise
            job.do, job.refusal = Do.LOOK, error
            return Found(self._cloud.device_by_mcu_id(self._parts.resolved.soc, job.row.mcu_id))

    def _create(self, job: Job) -> api.Device:
        row, resolved = job.row, self._parts.resolved
        return self._cloud.create_device(
            mcu_id=row.mcu_id,
            board_id=resolved.board.id,
            organisation_id=resolved.organisation.id,
            device_id=row.device_id,
            metadata=row.metadata,
        )

    def _mint(self, job: Job) -> api.MintedToken:
        row, spec = job.row, self._spec
        if spec is None:
            raise ProfileError(
                "profile.invalid", "a token needs a registry, and the profile names none"
            )
        link = {INTENT: job.intent or "", "deviceId": _device(job).device_id, "mcuId": row.mcu_id}
        return self._registry().mint_token(
            name=row.name or "",
            metadata={**spec.metadata, **link},
            tags=tuple(dict.fromkeys((*spec.tags, *row.tags))),
            site_id=spec.siteId,
            device_profile_id=spec.deviceProfileId,
            expires_in_s=spec.token_ttl_s,
            location=place(spec),
        )

    def _retire(self, job: Job) -> Retired:
        """Take our own unfinished registry device away: its token first, where it is pending."""
        found = job.registry_device
        if found is not None:
            pending = self._pending.get(found.id, job.not_before)
            if pending is not None:
                token = msgspec.json.decode(pending, type=str)
                _settled(lambda: self._registry().revoke_token(token))
            _settled(lambda: self._registry().delete_device(found.id))
        return Retired()

    def _registry(self) -> ports.RegistryApi:
        if self._parts.registry is None:
            raise ProfileError(
                "profile.invalid", "a token needs a registry, and the profile names none"
            )
        return self._parts.registry

    def _name_pages(self) -> Iterable[Sequence[tuple[str, Any]]]:
        return (
            [(device.name, device) for device in page] for page in self._registry().device_pages()
        )

    def _pending_pages(self) -> Iterable[Sequence[tuple[str, Any]]]:
        return (
            [(token.device_id, token.id) for token in page if token.status.upper() == "PENDING"]
            for page in self._registry().pending_pages()
        )


def _settled(call: Callable[[], object]) -> None:
    """Repeat what may be repeated safely, such as a DELETE, when its answer was lost."""
    for left in range(_SETTLE_TRIES, 0, -1):
        try:
            call()
        except CloudError as error:
            if not error.unknown or left == 1:
                raise
        else:
            return


def _device(job: Job) -> api.Device:
    if job.device is None:
        raise AssertionError("there is no device yet")
    return job.device
