"""Tables of the journal as statements see them.

`event` is the truth: append-only, one hash chain a station. `run`, `board`, `attempt`, `step`,
`serial`, `certificate`, `revocation`, `crl`, `seen_key`, `token` and `batch_row` are projections of
it. `secret` is outside the chain. `chain` keeps the head of each station's chain. What exists in a
file is made by `migrations.py`; a test compares the two.

Times are ISO 8601 UTC texts with microseconds and `Z`, which sort as they are; JSON is text with
sorted keys.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, Double, LargeBinary, MetaData, Table, Text

metadata: Final = MetaData()


def _texts(
    *names: str, primary: tuple[str, ...] = (), required: tuple[str, ...] = ()
) -> list[Column[str]]:
    return [
        Column(name, Text, primary_key=name in primary, nullable=name not in (*primary, *required))
        for name in names
    ]


migration: Final = Table(
    "migration",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    *_texts("name", "applied", "tool_version", required=("name", "applied", "tool_version")),
)

chain: Final = Table(
    "chain",
    metadata,
    *_texts("station", primary=("station",)),
    Column("seq", BigInteger, nullable=False),
    *_texts("hash", "newest", required=("hash", "newest")),
)

event: Final = Table(
    "event",
    metadata,
    *_texts("station", primary=("station",)),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    *_texts(
        "ts",
        "operator",
        "tool_version",
        "kind",
        "run",
        "board",
        "attempt",
        "step",
        "from_state",
        "to_state",
        "facts",
        "prev",
        "hash",
        required=("ts", "operator", "tool_version", "kind", "facts", "prev", "hash"),
    ),
)

run: Final = Table(
    "run",
    metadata,
    *_texts(
        "run",
        "command",
        "profile_name",
        "profile_hash",
        "profile",
        "operator",
        "lot",
        "simulated",
        "facts",
        "station",
        "tool_version",
        "started",
        "ended",
        "totals",
        primary=("run",),
        required=(
            "command",
            "profile_name",
            "profile_hash",
            "profile",
            "operator",
            "simulated",
            "facts",
            "station",
            "tool_version",
            "started",
            "totals",
        ),
    ),
)

board: Final = Table(
    "board",
    metadata,
    *_texts("uuid", "soc", "imei", "mcu_id", primary=("uuid",), required=("soc",)),
)

attempt: Final = Table(
    "attempt",
    metadata,
    *_texts(
        "attempt", "run", "board", "soc", primary=("attempt",), required=("run", "board", "soc")
    ),
    Column("slot", BigInteger, nullable=False),
    *_texts(
        "port",
        "state",
        "plan",
        "plan_hash",
        "opened",
        "facts",
        "outcome",
        "error",
        "ended",
        required=("port", "state", "plan", "plan_hash", "opened", "facts"),
    ),
)

step: Final = Table(
    "step",
    metadata,
    *_texts("attempt", "step", primary=("attempt", "step")),
    *_texts("state", "facts", "error", required=("state", "facts")),
    Column("ms", Double),
    *_texts("at", required=("at",)),
    Column("tries", BigInteger, nullable=False),
)

serial: Final = Table(
    "serial",
    metadata,
    *_texts(
        "serial",
        "issuer",
        "state",
        "attempt",
        "run",
        "reserved",
        primary=("serial", "issuer"),
        required=("state",),
    ),
)

certificate: Final = Table(
    "certificate",
    metadata,
    *_texts(
        "serial",
        "issuer",
        "sha256",
        "spki_sha256",
        "not_before",
        "not_after",
        "pem",
        "profile",
        "state",
        "board",
        "attempt",
        "device_id",
        "stored",
        "name",
        "station",
        "run",
        primary=("serial", "issuer"),
        required=(
            "sha256",
            "spki_sha256",
            "not_before",
            "not_after",
            "pem",
            "profile",
            "state",
            "stored",
        ),
    ),
)

revocation: Final = Table(
    "revocation",
    metadata,
    *_texts(
        "serial",
        "issuer",
        "at",
        "reason",
        "not_after",
        "name",
        primary=("serial", "issuer"),
        required=("at", "reason"),
    ),
)

crl: Final = Table(
    "crl",
    metadata,
    *_texts("issuer", primary=("issuer",)),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    *_texts(
        "this_update",
        "next_update",
        "sha256",
        "content",
        required=("this_update", "next_update", "sha256", "content"),
    ),
    Column("entries", BigInteger, nullable=False),
)

device_owner: Final = Table(
    "device_owner",
    metadata,
    *_texts("device_id", "board", primary=("device_id",), required=("board",)),
)
seen_key: Final = Table(
    "seen_key",
    metadata,
    *_texts("spki_sha256", "board", primary=("spki_sha256",), required=("board",)),
)

token: Final = Table(
    "token",
    metadata,
    *_texts(
        "intent",
        "name",
        "state",
        "board",
        "attempt",
        "token_id",
        "registry_device_id",
        "sha256",
        "expires_at",
        "intended",
        primary=("intent",),
        required=("name", "state", "intended"),
    ),
)

batch_row: Final = Table(
    "batch_row",
    metadata,
    *_texts("organisation", "soc", "mcu_id", primary=("organisation", "soc", "mcu_id")),
    *_texts("run", required=("run",)),
    Column("line", BigInteger, nullable=False),
    *_texts(
        "state",
        "device_id",
        "id",
        "name",
        "registry_device_id",
        "token_intent",
        "facts",
        "error",
        "at",
        required=("state", "facts", "at"),
    ),
)

secret: Final = Table(
    "secret",
    metadata,
    *_texts("name", primary=("name",)),
    Column("sealed", LargeBinary, nullable=False),
)

ATTEMPT_DEVICE_ID: Final = {
    "sqlite": "CASE WHEN json_valid(facts) THEN json_extract(facts, '$.deviceId') END",
    "postgresql": "((facts::jsonb) ->> 'deviceId')",
}
"""By dialect, the cloud device id among the facts of a PASS; the index has this very expression."""
