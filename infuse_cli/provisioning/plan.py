"""Plans as data: which steps, in which order, for every identity mode.

What can't be undone comes last.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

import msgspec

from infuse_cli.dialect.base import Can
from infuse_cli.errors import ProfileError
from infuse_cli.pki.certificate_profiles import content
from infuse_cli.provisioning.steps.checkin import CheckIn
from infuse_cli.provisioning.steps.derive import Derive
from infuse_cli.provisioning.steps.expect import Expect
from infuse_cli.provisioning.steps.flash import Flash
from infuse_cli.provisioning.steps.install import Install
from infuse_cli.provisioning.steps.keygen import Keygen
from infuse_cli.provisioning.steps.lookup import Lookup
from infuse_cli.provisioning.steps.possession import Possession
from infuse_cli.provisioning.steps.provision import Provision
from infuse_cli.provisioning.steps.read_back import ReadBack
from infuse_cli.provisioning.steps.register import Register
from infuse_cli.provisioning.steps.server_ca import ServerCa
from infuse_cli.provisioning.steps.sign import Sign
from infuse_cli.provisioning.steps.token import MintTokenStep, mints
from infuse_cli.provisioning.steps.verify import Verify
from infuse_cli.provisioning.steps.vet import Vet
from infuse_cli.provisioning.steps.write_id import WriteId

if TYPE_CHECKING:
    from infuse_cli.config.model import Profile, Token
    from infuse_cli.pki.certificate_profiles import CertificateProfile
    from infuse_cli.provisioning.step import Acting, Reading

AnyStep = Any

STEPS: Final[dict[str, Reading | Acting]] = {
    step.name: step
    for step in (
        Expect(),
        Lookup(),
        ServerCa(),
        Keygen(),
        Vet(),
        Register(),
        MintTokenStep(),
        Flash(),
        Sign(),
        Provision(),
        Install(),
        ReadBack(),
        Possession(),
        WriteId(),
        Derive(),
        CheckIn(),
        Verify(),
    )
}

# identify comes before every plan: without it there is no board to plan for.
PLANS: Final[dict[str, tuple[str, ...]]] = {
    "local-ca": (
        "expect",
        "lookup",
        "server-ca",
        "keygen",
        "vet",
        "register",
        "token",
        "flash",
        "sign",
        "install",
        "read-back",
        "possession",
        "write-id",
        "derive",
        "check-in",
        "verify",
    ),
    "cloud-ca": (
        "expect",
        "lookup",
        "server-ca",
        "keygen",
        "vet",
        "register",
        "token",
        "provision",
        "install",
        "read-back",
        "possession",
        "write-id",
        "derive",
        "check-in",
        "verify",
    ),
    "first-boot": (
        "expect",
        "lookup",
        "register",
        "write-id",
        "token",
        "flash",
        "read-back",
        "derive",
        "check-in",
        "verify",
    ),
    "none": ("expect", "lookup", "register", "write-id", "derive", "verify"),
}
ALREADY: Final = ("read-back", "verify")
"""What runs for a board that PASSed before."""

GIVEN: Final = frozenset({"identity"})

CAN: Final[dict[str, frozenset[Can]]] = {
    "server-ca": frozenset({Can.OFFLINE, Can.WRITE, Can.DELETE}),
    "keygen": frozenset({Can.OFFLINE, Can.CSR, Can.DELETE, Can.READ_DIGEST}),
    "install": frozenset({Can.OFFLINE, Can.WRITE, Can.DELETE}),
}
"""What a step asks of the dialect, whatever the profile says."""

_STORES: Final = {
    "psk": frozenset({Can.OFFLINE, Can.TOKEN_PSK, Can.DELETE, Can.READ_DIGEST}),
    "settings": frozenset({Can.TOKEN_SETTINGS}),
    "kv": frozenset({Can.TOKEN_KV}),
    "command": frozenset({Can.TOKEN_COMMAND}),
}
_MCU_IDS: Final = {
    "hwinfo": frozenset({Can.HWINFO}),
    "epacket": frozenset({Can.SECURITY_STATE}),
    "command": frozenset({Can.RAW}),
}


def plan_for(profile: Profile) -> tuple[str, ...]:
    """Return the step names for a profile, those left out that it gives nothing to do."""
    absent = {
        "server-ca": profile.identity.server_ca is None,
        "token": not mints(profile),
        "flash": not mints(profile),
        "write-id": not profile.board.write_id,
        "derive": profile.keys is None,
        "check-in": (
            profile.identity.mode != "first-boot"
            and not (profile.verify.active_wait_s or profile.verify.state_wait_s)
        ),
    }
    plan = tuple(name for name in PLANS[profile.identity.mode] if not absent.get(name, False))
    check(plan)
    return plan


def reached(plan: tuple[str, ...], until: str | None) -> tuple[str, ...]:
    """Return the steps that a run comes to which stops after `until`."""
    return plan[: plan.index(until) + 1] if until in plan else plan


def already_plan(profile: Profile) -> tuple[str, ...]:
    """Return what proves a board that PASSed before, as far as its mode has it."""
    return tuple(name for name in ALREADY if name in PLANS[profile.identity.mode])


def check(plan: tuple[str, ...]) -> None:
    """Raise ProfileError profile.cannot for a plan in which a step needs what no earlier step
    gives.
    """
    have = set(GIVEN)
    for name in plan:
        step = STEPS[name]
        missing = step.needs - have
        if missing:
            raise ProfileError(
                "profile.cannot",
                f"step {name} needs {', '.join(sorted(missing))}, which no earlier step gives",
            )
        have |= step.gives


def asks(plan: tuple[str, ...], profile: Profile) -> dict[str, frozenset[Can]]:
    """What each step of this plan asks of a dialect.

    A board that cannot prove possession is `unproven`, unless it has to.
    """
    asked = {
        "identify": frozenset({Can.IDENTIFY}),
        **{name: CAN[name] for name in plan if name in CAN},
    }
    if profile.board.mcu_id is not None:
        asked["identify"] |= _MCU_IDS.get(profile.board.mcu_id.source, frozenset())
    if "flash" in plan:
        asked["flash"] = _STORES["psk" if profile.token is None else profile.token.store]
    if "possession" in plan and profile.verify.possession == "required":
        asked["possession"] = frozenset({Can.POSSESSION})
    return asked


def check_dialect(
    asked: dict[str, frozenset[Can]], dialect: str, can: frozenset[Can]
) -> frozenset[Can]:
    """Raise ProfileError profile.cannot, before the board is touched, for a plan that its dialect
    cannot carry out.

    Returns all that is asked.
    """
    for name, wanted in asked.items():
        if missing := wanted - can:
            what = ", ".join(sorted(one.value for one in missing))
            raise ProfileError(
                "profile.cannot",
                f"step {name} has to {what}, which dialect {dialect} does not offer",
            )
    return frozenset().union(*asked.values())


def check_firmware(asked: dict[str, frozenset[Can]], lacking: frozenset[Can]) -> None:
    """Raise ProfileError profile.cannot for a board whose firmware was built without what the plan
    asks.
    """
    for name, wanted in asked.items():
        if missing := wanted & lacking:
            what = ", ".join(sorted(one.value for one in missing))
            raise ProfileError(
                "profile.cannot",
                f"step {name} has to {what}, and this board's firmware was built without that",
            )


def _outside(token: Token) -> tuple[str | None, ...]:
    """What says where a token goes that is no credential of the modem; nothing for one that is."""
    return () if token.store == "psk" else (token.name, token.command)


def plan_hash(profile: Profile, certificate: CertificateProfile | None = None) -> str:
    """Digest what must not change between the runs of one attempt: steps, slots, token place, cloud
    board, what is signed.

    Addresses are left out: a cloud that moved is still the same cloud.
    """
    cloud = profile.cloud
    parts = (
        plan_for(profile),
        profile.identity.mode,
        profile.identity.sec_tag,
        profile.identity.certificate,
        (
            None
            if profile.token is None
            else (profile.token.store, profile.token.sec_tag, *_outside(profile.token))
        ),
        (cloud.organisation.id, cloud.organisation.name),
        (cloud.board.id, cloud.board.name),
        profile.board.soc,
        *_signed(certificate),
    )
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()


def _signed(certificate: CertificateProfile | None) -> tuple[str, ...]:
    """What a certificate profile of one's own says, beside its name: it is a file, and can be
    edited under the same name.
    """
    return (said,) if certificate is not None and (said := content(certificate)) else ()
