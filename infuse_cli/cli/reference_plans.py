"""The tables of `docs/explanation/order-of-a-board.md`, made from the plans and the step files.

A page with prose keeps it: only what stands between `<!-- generated:NAME -->` and
`<!-- /generated -->` is replaced.
"""

from __future__ import annotations

import inspect
import re
import sys
from typing import Final

PAGE: Final = "order-of-a-board.md"
"""File name of the page in `docs/explanation/`."""

_PART: Final = re.compile(
    r"<!-- generated:(?P<name>[a-z-]+) -->\n.*?(?=<!-- /generated -->)", re.DOTALL
)
_EFFECTS: Final = {
    "none": "",
    "board": "board",
    "chip": "chip",
    "cloud": "cloud",
    "ca": "CA",
}
_MAKERS: Final = {
    "local-ca": "this bench",
    "cloud-ca": "the cloud's CA, at the bench",
    "first-boot": "the board itself, in the field",
    "none": "nobody",
}


def filled(page: str) -> str:
    """The page with its generated parts made anew.

    Raises KeyError for a part that nothing makes.
    """
    parts = {"steps": _steps(), "plans": _plans()}
    return _PART.sub(lambda old: f"<!-- generated:{old['name']} -->\n{parts[old['name']]}", page)


def _steps() -> str:
    """A row for each step, in the order of the plans."""
    from infuse_cli.provisioning.plan import STEPS
    from infuse_cli.provisioning.steps import identify

    rows = [("identify", _summary(inspect.getdoc(identify)), "")]
    for name, step in STEPS.items():
        module = sys.modules[type(step).__module__]
        rows.append((name, _summary(inspect.getdoc(module)), _EFFECTS[step.effect.value]))
    lines = "".join(f"| {name} | {text} | {effect} |\n" for name, text, effect in rows)
    return f"| step | what it does | effect on |\n|---|---|---|\n{lines}"


def _summary(docstring: str | None) -> str:
    """The first paragraph of a step's file without the step's name."""
    paragraph = " ".join((docstring or "").partition("\n\n")[0].split())
    return paragraph.partition(": ")[2].rstrip(".")


def _plans() -> str:
    """A row for each identity mode; a step that depends on the profile is in brackets."""
    from infuse_cli.config.model import Identity, Profile
    from infuse_cli.provisioning.plan import PLANS, plan_for
    from infuse_cli.types import IdentityMode

    lines = ""
    for mode in IdentityMode:
        plain = Profile(name="plain", identity=Identity(mode=mode.value))
        always = plan_for(plain)
        steps = [name if name in always else f"[{name}]" for name in PLANS[mode.value]]
        lines += f"| `{mode.value}` | {_MAKERS[mode.value]} | {', '.join(['identify', *steps])} |\n"
    return f"| mode | who makes the certificate | steps |\n|---|---|---|\n{lines}"
