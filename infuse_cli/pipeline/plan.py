"""Plans as data: which steps, in which order, for every identity mode (rule 5: what can't be undone comes last)."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

import msgspec

from infuse_cli.dialect.base import Can
from infuse_cli.errors import ProfileError
from infuse_cli.pipeline.steps.checkin import CheckIn
from infuse_cli.pipeline.steps.derive import Derive
from infuse_cli.pipeline.steps.expect import Expect
from infuse_cli.pipeline.steps.flash import Flash
from infuse_cli.pipeline.steps.install import Install
from infuse_cli.pipeline.steps.keygen import Keygen
from infuse_cli.pipeline.steps.lookup import Lookup
from infuse_cli.pipeline.steps.possession import Possession
from infuse_cli.pipeline.steps.provision import Provision
from infuse_cli.pipeline.steps.read_back import ReadBack
from infuse_cli.pipeline.steps.register import Register
from infuse_cli.pipeline.steps.server_ca import ServerCa
from infuse_cli.pipeline.steps.sign import Sign
from infuse_cli.pipeline.steps.token import MintTokenStep
from infuse_cli.pipeline.steps.verify import Verify
from infuse_cli.pipeline.steps.vet import Vet

if TYPE_CHECKING:
    from infuse_cli.pipeline.step import Acting, Reading
    from infuse_cli.profile import Profile

AnyStep = Any

STEPS: Final[dict[str, Reading | Acting]] = {
    step.name: step
    for step in (Expect(), Lookup(), ServerCa(), Keygen(), Vet(), Register(), MintTokenStep(), Flash(), Sign(), Provision(),
                 Install(), ReadBack(), Possession(), Derive(), CheckIn(), Verify())
}

# identify comes before every plan: without it there is no board to plan for.
PLANS: Final[dict[str, tuple[str, ...]]] = {
    "local-ca": ("expect", "lookup", "server-ca", "keygen", "vet", "register", "token", "flash", "sign", "install",
                 "read-back", "possession", "derive", "check-in", "verify"),
    "cloud-ca": ("expect", "lookup", "server-ca", "keygen", "vet", "register", "token", "provision", "install",
                 "read-back", "possession", "derive", "check-in", "verify"),
    "first-boot": ("expect", "lookup", "register", "token", "flash", "read-back", "derive", "check-in", "verify"),
    "none": ("expect", "lookup", "register", "derive", "verify"),
}
ALREADY: Final = ("read-back", "verify")
"""What runs for a board that PASSed before (rule 14)."""

GIVEN: Final = frozenset({"identity"})

CAN: Final[dict[str, frozenset[Can]]] = {
    "expect": frozenset({Can.READ_DIGEST}),
    "server-ca": frozenset({Can.OFFLINE, Can.WRITE, Can.DELETE}),
    "keygen": frozenset({Can.OFFLINE, Can.CSR, Can.DELETE, Can.READ_DIGEST}),
    "flash": frozenset({Can.OFFLINE, Can.TOKEN_PSK, Can.DELETE}),
    "install": frozenset({Can.OFFLINE, Can.WRITE, Can.DELETE}),
    "read-back": frozenset({Can.READ_DIGEST}),
}
"""What a step asks of the dialect; possession is left out, since a board that can't is `unproven` (rule 8)."""


def plan_for(profile: Profile) -> tuple[str, ...]:
    """Return the step names for a profile, those left out that it gives nothing to do."""
    absent = {
        "server-ca": profile.identity.server_ca is None,
        "token": profile.identity.mode == "local-ca" and profile.token is None,
        "flash": profile.identity.mode == "local-ca" and profile.token is None,
        "derive": profile.keys is None,
        "check-in": profile.identity.mode != "first-boot" and not (profile.verify.active_wait_s or profile.verify.state_wait_s),
    }
    plan = tuple(name for name in PLANS[profile.identity.mode] if not absent.get(name, False))
    check(plan)
    if "flash" in plan and profile.token is not None and profile.token.store != "psk":
        raise ProfileError("profile.cannot", f"token.store: {profile.token.store} is not offered; psk is")
    return plan


def already_plan(profile: Profile) -> tuple[str, ...]:
    """Return what proves a board that PASSed before, as far as its mode has it."""
    return tuple(name for name in ALREADY if name in PLANS[profile.identity.mode])


def check(plan: tuple[str, ...]) -> None:
    """Raise ProfileError profile.cannot for a plan in which a step needs what no earlier step gives."""
    have = set(GIVEN)
    for name in plan:
        step = STEPS[name]
        missing = step.needs - have
        if missing:
            raise ProfileError("profile.cannot", f"step {name} needs {', '.join(sorted(missing))}, which no earlier step gives")
        have |= step.gives


def check_dialect(plan: tuple[str, ...], dialect: str, can: frozenset[Can]) -> None:
    """Raise ProfileError profile.cannot, before the board is touched, for a plan that its dialect cannot carry out."""
    for name in plan:
        missing = CAN.get(name, frozenset()) - can
        if missing:
            wanted = ", ".join(sorted(one.value for one in missing))
            raise ProfileError("profile.cannot", f"step {name} has to {wanted}, which dialect {dialect} does not offer")


def plan_hash(profile: Profile) -> str:
    """Digest what must not change between the runs of one attempt: steps, slots, token place, cloud board.

    Addresses are left out: a cloud that moved is still the same cloud.
    """
    cloud = profile.cloud
    parts = (plan_for(profile), profile.identity.mode, profile.identity.sec_tag, profile.identity.certificate,
             None if profile.token is None else (profile.token.store, profile.token.sec_tag),
             (cloud.organisation.id, cloud.organisation.name), (cloud.board.id, cloud.board.name), profile.board.soc)
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()
