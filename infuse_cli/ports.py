"""Protocols between the rooms: what the use cases need of the outside, and what the adapters
promise.

Each has a real adapter and a fake that pass one contract suite. Everything here blocks; everything
that waits has a deadline and gives up early when the run's stop event is set.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

    from infuse_cli import api_types as api
    from infuse_cli import records as rec
    from infuse_cli.records.modes import OwedMode
    from infuse_cli.records.notes import NoteKind
    from infuse_cli.records.rows import RowRecord
    from infuse_cli.types import AttachedPort, Command, Event, PortInfo, Reply, Secret

T = TypeVar("T")


class Prompt(Protocol):
    """A person at a terminal who can be asked; a caller without one passes None instead."""

    def secret(self, question: str, *, twice: bool = False) -> Secret:
        """Ask for a secret that is not shown; `twice` for a new one, until both answers agree.

        Raises Interrupted when the person gives up.
        """

    def confirm(self, question: str) -> bool:
        """Ask a question that is answered with yes or no. Raises Interrupted."""


class Person(Protocol):
    """Somebody at a keyboard beside a run that watches for boards."""

    def can_type(self) -> bool:
        """Whether keys come to this process, so that a label can be scanned as if typed."""

    def listening(
        self, *, stop: Callable[[], None], line: Callable[[str], None] | None
    ) -> AbstractContextManager[object]:
        """Listen inside the context: `stop` is called when the person ends the run, `line` gets
        what was typed or scanned up to Enter.
        """


class BoardLink(Protocol):
    """An open serial port with a board on it; owned by one thread for its life.

    `current_step` is the name of the step at work, set by the attempt runner: it names the
    fail-point `wire:<step>`.
    """

    current_step: str

    @property
    def port(self) -> str:
        """Device path or URL as given."""

    @property
    def dialect(self) -> str:
        """Name of the detected dialect, a key of `dialect.DIALECTS`."""

    def run(self, conversation: Generator[Command, Reply, T]) -> T:
        """Pump a conversation to its end and return its result.

        Raises BoardError `serial.timeout` or `serial.unplugged`; with `unknown=True` when the
        command that was under way had an effect and at least one of its bytes was sent. After a
        time-out the link is resynchronised before the next command goes out. Whatever the
        conversation raises passes through.
        """

    def transcript(self) -> str:
        """What went over the wire since opening, secrets masked, one line each with a time in
        milliseconds.
        """

    def close(self) -> None:
        """Release the port; safe to call twice."""


class BoardSource(Protocol):
    """Where boards are seen, and how their ports are opened."""

    def present(self) -> Sequence[PortInfo]:
        """Ports that may hold a board right now, in slot order."""

    def open(self, port: str) -> BoardLink:
        """Open exclusively and find the dialect, within 2 s on a silent port.

        Raises BoardError serial.no-port, serial.busy (naming the holder where it can be seen),
        serial.denied, serial.silent.
        """


class PortMonitor(Protocol):
    """Sees boards come and go while a run lasts."""

    def poll(self) -> Mapping[int, AttachedPort]:
        """The port of each slot that has one right now; cheap enough to be asked several times a
        second.
        """


class ChipIds(Protocol):
    """The chip's own id, read past the firmware: through the debug probe on the board
    (`board.mcu_id: {from: nrfutil}`).
    """

    def chip_id(self, port: str, soc: str) -> str:
        """The mcuId of the board on this port: 16 lower-case hex digits, in the order in which the
        probe gives the bytes.

        Returns within 20 s. Raises BoardError board.no-mcu-id, naming the tool or the probe and the
        way out.
        """

    def can_write_device_id(self, soc: str) -> None:
        """Look for what writing needs on this machine, without a board.

        Raises ProfileError profile.unsupported.
        """

    def knows_probe(self, port: str) -> None:
        """Look up which probe belongs to a port, without asking it. Raises board.id-not-written."""

    def device_id(self, port: str, soc: str) -> str | None:
        """The cloud's device id in the chip's one-time memory, 16 hex digits; None while it is
        empty. Raises board.id-not-written.
        """

    def write_device_id(self, port: str, soc: str, device_id: str) -> None:
        """Write it there and compare what is there after; an id that is right already is left.

        Raises BoardError board.other-id with nothing written, board.id-not-written.
        """


class InfuseApi(Protocol):
    """The Infuse IoT API as far as provisioning needs it.

    GETs and calls without lasting effect are repeated inside until the call's deadline. A POST or
    PUT with effect is sent once (429, 503 with Retry-After and connections never made are "not
    done" and repeated inside); a lost answer raises CloudError with `unknown=True`. A 404
    on a look-up is None.
    """

    def organisation(  # noqa: D102
        self,
        *,
        id: str | None = None,  # noqa: A002
        name: str | None = None,
    ) -> api.Organisation | None: ...
    def create_organisation(self, name: str) -> api.Organisation: ...  # noqa: D102
    def boards(self, organisation_id: str) -> Sequence[api.CloudBoard]: ...  # noqa: D102
    def board(self, board_id: str) -> api.CloudBoard | None: ...  # noqa: D102
    def create_board(
        self,
        organisation_id: str,
        name: str,
        *,
        soc: str,
        description: str = "",
        metadata_fields: Sequence[api.MetadataField] = (),
    ) -> api.CloudBoard:
        """POST /board, once."""

    def networks(self, organisation_id: str) -> Sequence[api.Network]: ...  # noqa: D102
    def device_by_mcu_id(self, soc: str, mcu_id: str) -> api.Device | None: ...  # noqa: D102
    def devices_with_metadata(
        self, organisation_id: str, board_id: str, name: str, value: str
    ) -> Sequence[api.Device]:
        """Devices of a board whose metadata `name` equals `value`, the list read to its end."""

    def device_pages(self, organisation_id: str) -> Iterator[Sequence[api.Device]]:
        """The devices of an organisation page by page; one may come twice."""

    def create_device(
        self,
        *,
        mcu_id: str,
        board_id: str,
        organisation_id: str,
        device_id: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> api.Device:
        """POST /device, once. A 409 raises CloudError with status 409."""

    def patch_device_metadata(self, id: str, values: Mapping[str, str]) -> api.Device: ...  # noqa: A002, D102
    def device_state(self, device_id: str) -> api.DeviceState | None: ...  # noqa: D102
    def cloud_public_key(self) -> bytes:
        """GET /key/publicKey: X25519 public key, 32 bytes."""

    def derived_key(self, device_id: str, interface: str) -> Secret:
        """POST /key/derived/device: the key as base64 of 32 bytes."""

    def shared_secret(self, device_public_key: bytes) -> Secret:
        """POST /key/sharedSecret: the device's root secret as base64 of 32 bytes."""

    def device_secret(
        self, device_id: str, security_state: Mapping[str, Any] | None = None
    ) -> Secret:
        """POST /key/sharedSecret/device: the root secret of a device that the cloud knows; not
        every cloud has the call.

        `security_state` is what the device said of its keys.
        """

    def server_time_offset_s(self) -> float | None:
        """Server's Date minus this machine's clock in seconds, from the newest answer; None before
        any.
        """


class RegistryApi(Protocol):
    """The device registry, same retry and error rules as `InfuseApi`."""

    def mint_token(
        self,
        *,
        name: str,
        metadata: Mapping[str, str],
        tags: Sequence[str] = (),
        site_id: str | None = None,
        device_profile_id: str | None = None,
        expires_in_s: int | None = None,
        location: api.Location | None = None,
    ) -> api.MintedToken:
        """POST a registration token, once. A taken name raises CloudError with status 409."""

    def pending_tokens(self) -> Sequence[api.PendingToken]: ...  # noqa: D102
    def pending_pages(self) -> Iterator[Sequence[api.PendingToken]]: ...  # noqa: D102
    def device_pages(self) -> Iterator[Sequence[api.RegistryDevice]]: ...  # noqa: D102
    def revoke_token(self, token_id: str) -> bool:
        """True when revoked or already gone (404), False when already used or revoked (409)."""

    def provision(self, token: Secret, csr_pem: str) -> api.Provisioned:
        """POST /devices/provision without an Authorization header, once."""

    def device(self, registry_device_id: str) -> api.RegistryDevice | None: ...  # noqa: D102
    def device_by_name(self, name: str) -> api.RegistryDevice | None: ...  # noqa: D102
    def delete_device(self, registry_device_id: str) -> None: ...  # noqa: D102


class Journal(Protocol):
    """What was intended and what happened, durably. Safe to share between threads."""

    @property
    def station(self) -> str:
        """Name of this bench (bench.yaml, else the host name)."""

    def start_run(self, start: rec.RunStart) -> None:
        """Record the run and hold its owner lock, which the kernel frees when the process dies."""

    def end_run(self, run: str, totals: rec.Facts) -> None: ...  # noqa: D102
    def commit(self, *writes: rec.Write) -> None:
        """Make all writes durable in one fsynced transaction, or none.

        Raises PolicyError identity.clone or identity.key-reused, BoardError board.in-use,
        JournalError journal.conflict (a compare-and-swap lost), journal.locked, journal.read-only,
        journal.disk-full.
        """

    def board(self, uuid: str) -> rec.BoardRecord | None: ...  # noqa: D102
    def check_identity(self, uuid: str, imei: str | None, mcu_id: str | None) -> None:
        """Raise PolicyError identity.clone when imei or mcuId is bound to another board, or this
        one to others.
        """

    def attempt(self, attempt: str) -> rec.AttemptRecord: ...  # noqa: D102
    def attempts(self, board: str) -> Sequence[rec.AttemptRecord]:
        """All attempts of a board, oldest first."""

    def open_attempts(self) -> Sequence[rec.AttemptRecord]: ...  # noqa: D102
    def certificates(  # noqa: D102
        self, *, board: str | None = None, attempt: str | None = None
    ) -> Sequence[rec.CertificateRecord]: ...
    def reserved_serials(self, attempt: str) -> Sequence[tuple[str, str]]:
        """(serial, issuer) pairs reserved by this attempt that are neither void nor have a
        certificate.
        """

    def is_revoked(self, serial: str, issuer: str) -> bool:
        """Whether this certificate of this issuer (SHA-256 hex of its DER) was revoked."""

    def device_owner(self, device_id: str) -> str | None:
        """The board that PASSed as this cloud device; superseded attempts do not count."""

    def key_owner(self, spki_sha256: str) -> str | None: ...  # noqa: D102
    def tokens(  # noqa: D102
        self, *, board: str | None = None, name: str | None = None
    ) -> Sequence[rec.TokenRecord]: ...
    def secret(self, name: str) -> bytes | None: ...  # noqa: D102
    def row(self, organisation: str, soc: str, mcu_id: str) -> RowRecord | None:
        """A row of a batch as it stands, None for one that was never seen here."""

    def rows(self, organisation: str, soc: str, mcu_ids: Sequence[str]) -> dict[str, RowRecord]:
        """Those of these rows that were seen here, by mcuId."""

    def modes_owed(self, board: str | None = None) -> Sequence[OwedMode]:
        """Boards that a change by hand left in flight mode, one or all."""

    def labelled(self, name: str, value: str) -> Sequence[str]:
        """Boards whose metadata `name` is on record as `value`; superseded and closed attempts do
        not count.
        """

    def alive(self, run: str) -> bool:
        """Whether the process that owns a run still lives."""

    def run(self, run: str) -> rec.RunRecord: ...  # noqa: D102
    def runs(self) -> Sequence[rec.RunRecord]: ...  # noqa: D102
    def newest(self) -> datetime | None:
        """Time (UTC) of the newest event that was written while `trust_clock` held; None for
        none.
        """

    def trust_clock(self, server_offset_s: float | None) -> datetime | None:
        """From here on the times of new records count, for the clock agrees with the server's.

        A newer time on record is set aside and returned; that is recorded.
        """

    def distrust_clock(self) -> None:
        """From here on the times of new records are no measure for others."""

    def close(self) -> None:
        """Close the journal and give up every run that was not ended; safe to call twice."""

    def noted(self, *what: NoteKind) -> Sequence[tuple[NoteKind, rec.Facts]]:
        """What runs noted under these kinds (`NoteRun`), with its facts, the oldest first."""

    def passed_with(self, *, profile_hash: str, ca: str | None, modem_firmware: str | None) -> bool:
        """Whether any board PASSed with this profile, CA and modem firmware: else the next is a
        first article.
        """


class SpillStore(Protocol):
    """Values by key, on disk and gone when closed: what a run has to remember for longer than
    memory should hold it.

    Safe to share between threads.
    """

    def put(self, values: Iterable[tuple[str | int, bytes]]) -> None:
        """Keep values; a key that is there already gets the new one."""

    def get(self, key: str | int) -> bytes | None: ...  # noqa: D102
    def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Those of these keys that have a value."""

    def values(self) -> Iterator[bytes]:
        """All values in the order of their keys."""

    def close(self) -> None:
        """Forget all; safe to call twice."""


class Signer(Protocol):
    """An issuing CA that is unlocked: its key never leaves, its chain is issuer first."""

    @property
    def private_key(self) -> EllipticCurvePrivateKey: ...  # noqa: D102
    @property
    def chain(self) -> Sequence[x509.Certificate]:
        """Issuing certificate first, root last where it is known."""


class Sealer(Protocol):
    """Seals secrets at rest under the bench's data key; `context` binds the bytes to their row."""

    def seal(self, secret: Secret, context: str) -> bytes: ...  # noqa: D102
    def unseal(self, sealed: bytes, context: str) -> Secret: ...  # noqa: D102


class KeySink(Protocol):
    """Takes derived keys out of this program, to where the profile says (`keys.to`)."""

    def put(self, key: Secret, values: Mapping[str, str]) -> None:
        """Hand a key (base64) over; `values` name the board and the key.

        Raises CredentialError keys.delivery-failed.
        """


class Clock(Protocol):
    """Time as the use cases see it."""

    def now(self) -> datetime:
        """UTC, aware."""

    def monotonic(self) -> float:
        """Seconds."""

    def wait(self, seconds: float) -> bool:
        """Wait, at once back with True when the run is being stopped."""

    def telling(self, tell: Callable[[], None]) -> AbstractContextManager[None]:
        """Have `tell` called, once, when a call to the cloud by this thread has to be tried
        again.
        """


class Events(Protocol):
    """Where events go: renderers and the JSON writers subscribe."""

    def emit(self, event: Event) -> None: ...  # noqa: D102
