"""Plans as data: which steps, in which order, for every identity mode.

What can't be undone comes last. What each step requires, asks of the dialect and does is its own
declaration, in `steps/`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from infuse_cli.capabilities import MCU_ID_SOURCES, Capability
from infuse_cli.errors import ProfileError, UsageError
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
from infuse_cli.provisioning.steps.token import MintTokenStep
from infuse_cli.provisioning.steps.verify import Verify
from infuse_cli.provisioning.steps.vet import Vet
from infuse_cli.provisioning.steps.write_id import WriteId

if TYPE_CHECKING:
    from infuse_cli.config.model import Profile, Token
    from infuse_cli.pki.certificate_profiles import CertificateProfile
    from infuse_cli.provisioning.step import EffectStep, QueryStep

STEPS: Final[dict[str, QueryStep | EffectStep]] = {
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

_KEY: Final = ("expect", "lookup", "server-ca", "keygen", "vet", "register", "token")
_PROOF: Final = ("install", "read-back", "possession", "write-id", "derive", "check-in", "verify")

# identify comes before every plan: without it there is no board to plan for.
PLANS: Final[dict[str, tuple[str, ...]]] = {
    "local-ca": (*_KEY, "flash", "sign", *_PROOF),
    "cloud-ca": (*_KEY, "provision", *_PROOF),
    "first-boot": (
        *("expect", "lookup", "register", "write-id", "token", "flash"),
        *("read-back", "derive", "check-in", "verify"),
    ),
    "none": ("expect", "lookup", "register", "write-id", "derive", "verify"),
}

PROVIDED: Final = frozenset({"identity"})
"""What identify provides."""


@dataclass(frozen=True, slots=True)
class RunPlan:
    """The steps of a run's boards; `digest` is of what must not change between the runs of one
    attempt.

    `recheck` are the steps that prove a board which PASSed before.
    """

    steps: tuple[str, ...]
    recheck: tuple[str, ...]
    digest: str


def run_plan(profile: Profile, certificate: CertificateProfile | None = None) -> RunPlan:
    """Return the plan of a run. Raises ProfileError profile.unsupported."""
    steps = PLANS[profile.identity.mode]
    recheck = tuple(name for name in steps if STEPS[name].rechecks)
    return RunPlan(plan_for(profile), recheck, _digest(profile, certificate))


def plan_for(profile: Profile) -> tuple[str, ...]:
    """Return the step names for a profile, those left out that it gives nothing to do."""
    steps = PLANS[profile.identity.mode]
    plan = tuple(name for name in steps if STEPS[name].is_needed(profile))
    check(plan)
    return plan


def reached(plan: tuple[str, ...], until: str | None) -> tuple[str, ...]:
    """Return the steps that a run comes to which stops after `until`."""
    return plan[: plan.index(until) + 1] if until in plan else plan


def check_until(plan: tuple[str, ...], until: str | None) -> None:
    """Raise UsageError usage.bad-option for a step to stop after that is not in the plan."""
    if until is not None and until not in plan:
        raise UsageError(
            "usage.bad-option",
            f"--until {until}: this profile's plan has no such step",
            hint=f"Its steps: {', '.join(plan)}.",
        )


def check(plan: tuple[str, ...]) -> None:
    """Raise ProfileError profile.unsupported for a plan in which a step requires what no earlier
    step provides.
    """
    have = set(PROVIDED)
    for name in plan:
        step = STEPS[name]
        missing = step.requires - have
        if missing:
            raise ProfileError(
                "profile.unsupported",
                f"step {name} needs {', '.join(sorted(missing))}, which no earlier step gives",
            )
        have |= step.provides


def asks(plan: tuple[str, ...], profile: Profile) -> dict[str, frozenset[Capability]]:
    """What each step of this plan, identify included, asks of a dialect."""
    source = profile.board.mcu_id
    mcu_id = frozenset() if source is None else MCU_ID_SOURCES.get(source.source, frozenset())
    asked = {"identify": frozenset({Capability.IDENTIFY}) | mcu_id}
    for name in plan:
        wanted = STEPS[name].capabilities(profile)
        if wanted:
            asked[name] = wanted
    return asked


def check_dialect(
    asked: dict[str, frozenset[Capability]], dialect: str, can: frozenset[Capability]
) -> frozenset[Capability]:
    """Raise ProfileError profile.unsupported, before the board is touched, for a plan that its
    dialect cannot carry out.

    Returns all that is asked.
    """
    for name, wanted in asked.items():
        _require(name, wanted - can, f"which dialect {dialect} does not offer")
    return frozenset().union(*asked.values())


def check_firmware(asked: dict[str, frozenset[Capability]], lacking: frozenset[Capability]) -> None:
    """Raise ProfileError profile.unsupported for a board whose firmware was built without what the
    plan asks.
    """
    for name, wanted in asked.items():
        _require(name, wanted & lacking, "and this board's firmware was built without that")


def _require(step: str, missing: frozenset[Capability], why: str) -> None:
    if missing:
        what = ", ".join(sorted(capability.value for capability in missing))
        raise ProfileError("profile.unsupported", f"step {step} has to {what}, {why}")


def _outside(token: Token) -> tuple[str | None, ...]:
    """What says where a token goes that is no credential of the modem; nothing for one that is."""
    return () if token.store == "psk" else (token.name, token.command)


def _digest(profile: Profile, certificate: CertificateProfile | None) -> str:
    """Digest what must not change between the runs of one attempt: steps, slots, token place, cloud
    board, what is signed.

    Addresses are left out: a cloud that moved is still the same cloud.
    """
    cloud, token = profile.cloud, profile.token
    signed = "" if certificate is None else content(certificate)
    parts = (
        plan_for(profile),
        profile.identity.mode,
        profile.identity.sec_tag,
        profile.identity.certificate,
        None if token is None else (token.store, token.sec_tag, *_outside(token)),
        (cloud.organisation.id, cloud.organisation.name),
        (cloud.board.id, cloud.board.name),
        profile.board.soc,
        *((signed,) if signed else ()),
    )
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()
