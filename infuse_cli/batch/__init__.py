"""Rows of a file into the cloud: many devices, no boards.

    from infuse_cli import batch
    from infuse_cli.settings import Settings

    settings = Settings(home=Path("/srv/infuse"), profile="field-sensor", env=os.environ)
    result = batch.register(settings, batch.RegisterRequest(Path("rows.csv")))

One thread, the coordinator (`engine.py`), takes rows, decides and writes the journal; a pool
(`pool.py`) does nothing but HTTP. A row's intent is durable before its POST, its outcome before
anybody is told; both travel in one commit with those of its neighbours. `row_machine.py` says what
follows on what, without I/O, by the table of `row_states.py`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from infuse_cli.batch.export import (
        ExportRequest,
        IdExport,
        OnboardExport,
        export_ids,
        export_onboarding,
    )
    from infuse_cli.batch.file_status import FileStatus, status
    from infuse_cli.batch.handover_export import HandOverFile, HandOverRequest, hand_over
    from infuse_cli.batch.handover_import import HandOverImport, take_over
    from infuse_cli.batch.handover_take_back import TakeBackRequest, TakenBack, take_back
    from infuse_cli.batch.planning import BatchPlan, PlanRequest, plan
    from infuse_cli.batch.registration import RegisterRequest, Registration, register

__all__ = [
    "BatchPlan",
    "ExportRequest",
    "FileStatus",
    "HandOverFile",
    "HandOverImport",
    "HandOverRequest",
    "IdExport",
    "OnboardExport",
    "PlanRequest",
    "RegisterRequest",
    "Registration",
    "TakeBackRequest",
    "TakenBack",
    "export_ids",
    "export_onboarding",
    "hand_over",
    "plan",
    "register",
    "status",
    "take_back",
    "take_over",
]

_MODULES: Final = {
    "export": ("ExportRequest", "IdExport", "OnboardExport", "export_ids", "export_onboarding"),
    "file_status": ("FileStatus", "status"),
    "handover_export": ("HandOverFile", "HandOverRequest", "hand_over"),
    "handover_import": ("HandOverImport", "take_over"),
    "handover_take_back": ("TakeBackRequest", "TakenBack", "take_back"),
    "planning": ("BatchPlan", "PlanRequest", "plan"),
    "registration": ("RegisterRequest", "Registration", "register"),
}
"""Where the public names are; a module is imported at the first use of one of its names."""


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"infuse_cli.batch.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
