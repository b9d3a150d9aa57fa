"""What the pool does with a row: one call to the cloud, or a few that belong together.

No journal, no decisions.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final, assert_never

import msgspec

from infuse_cli import api_types as api
from infuse_cli.batch.model import Failed, FoundDevice, FoundName, Minted, Retired
from infuse_cli.batch.row_states import RowState
from infuse_cli.effects.tokens import delete_unfinished, mint
from infuse_cli.errors import CloudError, InfuseError, ProfileError, internal_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from infuse_cli import ports
    from infuse_cli.batch.model import Answer, Job, RunContext
    from infuse_cli.config import model as prof

S = RowState
_CONFLICT: Final = 409


class RegistryList:
    """A list of the registry on disk, read again when somebody needs it newer than it is.

    Safe between threads.
    """

    def __init__(
        self,
        spill_store: ports.SpillStore,
        read_pages: Callable[[], Iterable[Sequence[tuple[str, Any]]]],
        clock: ports.Clock,
    ) -> None:
        self._spill_store: Final = spill_store
        self._read_pages: Final = read_pages
        self._clock: Final = clock
        self._lock: Final = threading.Lock()
        self._read_at: float | None = None

    def get(self, key: str, not_before: float) -> bytes | None:
        """The newest value of a key, from a reading that began at `not_before` or later.

        Times are monotonic seconds.
        """
        with self._lock:
            if self._read_at is None or self._read_at < not_before:
                began = self._clock.monotonic()
                for page in self._read_pages():
                    self._spill_store.put(
                        (page_key, msgspec.json.encode((str(began), value)))
                        for page_key, value in page
                    )
                self._read_at = began
            stored = self._spill_store.get(key)
            newest = str(self._read_at)
        if stored is None:
            return None
        stamp, value = msgspec.json.decode(stored, type=tuple[str, msgspec.Raw])
        # A value of an older reading has gone since.
        return bytes(value) if stamp == newest else None


class Caller:
    """Makes the calls of all threads of the pool."""

    def __init__(self, context: RunContext) -> None:
        self._context: Final = context
        self._cloud: Final = context.cloud
        self._names: Final = RegistryList(context.spill_store(), self._name_pages, context.clock)
        self._pending: Final = RegistryList(
            context.spill_store(), self._pending_pages, context.clock
        )

    def call(self, job: Job) -> Answer:
        """The answer of the cloud to what the row asks; an error is an answer too."""
        try:
            return self._call(job)
        except InfuseError as error:
            return Failed(error)
        except Exception as error:  # noqa: BLE001 - one row's surprise must not end the batch
            return Failed(internal_error(error))

    def _call(self, job: Job) -> Answer:  # noqa: PLR0911 - a table of calls
        row, progress = job.row, job.progress
        match progress.state:
            case S.LOOK_UP:
                return FoundDevice(self._look_up(job))
            case S.CREATE:
                return self._create_or_look_up(job)
            case S.UPDATE:
                device = _device(job)
                return FoundDevice(
                    self._cloud.patch_device_metadata(device.id, progress.device.patch)
                )
            case S.MINT:
                return Minted(self._mint(job))
            case S.LOOK_UP_BY_NAME:
                found = self._names.get(row.name or "", progress.waiting.list_from)
                if found is None:
                    return FoundName(None)
                return FoundName(msgspec.json.decode(found, type=api.RegistryDevice))
            case S.RETIRE:
                return self._retire(job)
            case S.WAIT | S.CREATED | S.EXISTED | S.DIFFERS | S.REFUSED | S.UNKNOWN | S.PARKED:
                raise AssertionError(f"nothing is asked for a row in state {progress.state.value}")
        assert_never(progress.state)

    def _look_up(self, job: Job) -> api.Device | None:
        return self._cloud.device_by_mcu_id(self._context.resolved.soc, job.row.mcu_id)

    def _create_or_look_up(self, job: Job) -> FoundDevice:
        try:
            return FoundDevice(self._create(job), created=True)
        except CloudError as error:
            if error.status != _CONFLICT or error.unknown:
                raise
            return FoundDevice(self._look_up(job), refusal=error)

    def _create(self, job: Job) -> api.Device:
        row, resolved = job.row, self._context.resolved
        return self._cloud.create_device(
            mcu_id=row.mcu_id,
            board_id=resolved.board.id,
            organisation_id=resolved.organisation.id,
            device_id=row.device_id,
            metadata=row.metadata,
        )

    def _mint(self, job: Job) -> api.MintedToken:
        row, (registry, spec) = job.row, self._registry()
        ids = {"deviceId": _device(job).device_id, "mcuId": row.mcu_id}
        intent = job.progress.token.intent or ""
        return mint(registry, spec, row.name or "", intent, metadata=ids, tags=row.tags)

    def _retire(self, job: Job) -> Retired:
        """Take our own unfinished registry device away: its token first, where it is pending."""
        device, (registry, _) = job.progress.token.unfinished, self._registry()
        if device is not None:
            pending = self._pending.get(device.id, job.progress.waiting.list_from)
            tokens = [] if pending is None else [msgspec.json.decode(pending, type=str)]
            delete_unfinished(registry, device.id, tokens)
        return Retired()

    def _registry(self) -> tuple[ports.RegistryApi, prof.Registry]:
        registry, spec = self._context.registry, self._context.profile.registry
        if registry is None or spec is None:
            raise ProfileError(
                "profile.invalid", "a token needs a registry, and the profile names none"
            )
        return registry, spec

    def _name_pages(self) -> Iterable[Sequence[tuple[str, Any]]]:
        for page in self._registry()[0].device_pages():
            yield [(device.name, device) for device in page]

    def _pending_pages(self) -> Iterable[Sequence[tuple[str, Any]]]:
        for page in self._registry()[0].pending_pages():
            yield [
                (token.device_id, token.id) for token in page if token.status.upper() == "PENDING"
            ]


def _device(job: Job) -> api.Device:
    device = job.progress.device.device
    if device is None:
        raise AssertionError("there is no device yet")
    return device
