"""Organisation, cloud board and network of a run, resolved once before any slot starts.

Guaranteed: `docs/reference/guarantees.md#organisation-board-and-network-are-resolved-once`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from infuse_cli.api_types import CloudBoard, MetadataField, Organisation
from infuse_cli.clock import RunClock
from infuse_cli.effects.send_once import SendOnce
from infuse_cli.errors import CloudError, ProfileError
from infuse_cli.provisioning.context import Resolved
from infuse_cli.records import NoteRun
from infuse_cli.records.notes import created_kinds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from infuse_cli import api_types as api
    from infuse_cli.config.model import NamedThing, Profile
    from infuse_cli.ports import Clock, InfuseApi, Journal

T = TypeVar("T", "api.CloudBoard", "api.Network")

NOT_YET: Final = "(would be created)"
"""The id of what a dry run does not create."""


def resolve(
    profile: Profile,
    cloud: InfuseApi,
    journal: Journal | None,
    run: str,
    clock: Clock | None = None,
    *,
    before_creating: Callable[[], None] = lambda: None,
) -> Resolved:
    """Look names up, create what the profile lets be created (on record), and check the soc.

    `journal` None is a dry run: nothing is created, and what would be has the id `NOT_YET`. A lost
    answer is looked up for `lost_answer_grace_s`. `before_creating` is called, and may raise,
    before the first request that changes the cloud. Raises CloudError cloud.not-found,
    cloud.ambiguous, cloud.soc-mismatch, ProfileError profile.invalid.
    """
    once = SendOnce(clock or RunClock(), profile.cloud.lost_answer_grace_s)
    creator = None if journal is None else _Creator(journal, run, once, before_creating)
    organisation = _organisation(profile.cloud.organisation, cloud, creator)
    board = _board(profile, cloud, creator, organisation)
    soc = profile.board.soc or board.soc
    if soc.lower() != board.soc.lower():
        raise CloudError(
            "cloud.soc-mismatch",
            f"the profile's soc is {soc}, that of cloud board {board.name!r} is {board.soc}",
        )
    return Resolved(
        organisation, board, _network(profile.cloud.network, cloud, organisation), board.soc
    )


def _organisation(spec: NamedThing, cloud: InfuseApi, creator: _Creator | None) -> api.Organisation:
    if spec.id is None and spec.name is None:
        raise ProfileError("profile.invalid", "cloud.organisation names neither id nor name")
    found = (
        cloud.organisation(id=spec.id)
        if spec.id is not None
        else cloud.organisation(name=spec.name)
    )
    if found is not None:
        return found
    if not spec.create or spec.name is None:
        raise CloudError(
            "cloud.not-found", f"the cloud knows no organisation {spec.id or spec.name!r}"
        )
    name = spec.name
    if creator is None:
        return Organisation(id=NOT_YET, name=name)
    return creator.create(
        "organisation",
        {"name": name},
        lambda: cloud.create_organisation(name),
        lambda: cloud.organisation(name=name),
    )


def _board(
    profile: Profile,
    cloud: InfuseApi,
    creator: _Creator | None,
    organisation: api.Organisation,
) -> api.CloudBoard:
    spec = profile.cloud.board
    if spec.id is not None:
        found = cloud.board(spec.id)
        if found is None:
            raise CloudError("cloud.not-found", f"the cloud knows no board {spec.id}")
        return found
    if spec.name is None:
        raise ProfileError("profile.invalid", "cloud.board names neither id nor name")
    found = (
        None
        if organisation.id == NOT_YET
        else _one(cloud.boards(organisation.id), spec.name, "board")
    )
    if found is not None:
        return found
    if not spec.create:
        raise CloudError(
            "cloud.not-found", f"organisation {organisation.name!r} has no board {spec.name!r}"
        )
    if creator is None:
        return _imagined_board(profile, organisation)
    return creator.create(
        "board",
        {"organisation": organisation.id, "name": spec.name},
        lambda: _create_board(profile, cloud, organisation),
        lambda: _one(cloud.boards(organisation.id), spec.name or "", "board"),
    )


def _imagined_board(profile: Profile, organisation: api.Organisation) -> api.CloudBoard:
    """The board that a run would create; no field is unique yet, since it has no devices to ask
    for.
    """
    spec = profile.cloud.board
    if profile.board.soc is None:
        raise ProfileError("profile.invalid", "cloud.board.create needs board.soc")
    fields = tuple(
        MetadataField(name=field.name, required=field.required) for field in spec.metadata_fields
    )
    return CloudBoard(
        id=NOT_YET,
        name=spec.name or "",
        soc=profile.board.soc,
        organisation_id=organisation.id,
        metadata_fields=fields,
    )


def _create_board(
    profile: Profile, cloud: InfuseApi, organisation: api.Organisation
) -> api.CloudBoard:
    spec = profile.cloud.board
    if profile.board.soc is None:
        raise ProfileError("profile.invalid", "cloud.board.create needs board.soc")
    fields = [
        MetadataField(name=field.name, required=field.required, unique=field.unique)
        for field in spec.metadata_fields
    ]
    return cloud.create_board(
        organisation.id,
        spec.name or "",
        soc=profile.board.soc,
        description=spec.description,
        metadata_fields=fields,
    )


def _network(
    spec: NamedThing | None, cloud: InfuseApi, organisation: api.Organisation
) -> api.Network | None:
    if spec is None or (spec.id is None and spec.name is None):
        return None
    networks = [] if organisation.id == NOT_YET else cloud.networks(organisation.id)
    found = (
        next((row for row in networks if row.id == spec.id), None)
        if spec.id
        else _one(networks, spec.name or "", "network")
    )
    if found is None:
        raise CloudError(
            "cloud.not-found",
            f"organisation {organisation.name!r} has no network {spec.id or spec.name!r}",
        )
    return found


def _one(rows: Sequence[T], name: str, what: str) -> T | None:
    matching = [row for row in rows if row.name == name]
    if len(matching) > 1:
        listed = ", ".join(row.id for row in matching)
        raise CloudError("cloud.ambiguous", f"{len(matching)} {what}s are named {name!r}: {listed}")
    return matching[0] if matching else None


_POSTS: Final = 10

U = TypeVar("U", "api.CloudBoard", "api.Organisation")


@dataclass(frozen=True, slots=True)
class _Creator:
    """Creates what a run needs in the cloud: intended in the journal before its POST, made once.

    An earlier run that was killed after its intent may have a POST under way still, so what it
    intended is looked for as long as a lost answer is.
    """

    journal: Journal
    run: str
    once: SendOnce
    before_creating: Callable[[], None]

    def create(
        self,
        what: str,
        facts: dict[str, Any],
        create: Callable[[], U],
        look_up: Callable[[], U | None],
    ) -> U:
        """What was made, now or by the earlier run; `facts` tell one intent from another.

        Raises CloudError, Interrupted.
        """
        intended, created = created_kinds(what)
        self.before_creating()
        made = self.once.look_up_lost(look_up) if self._is_intended(what, facts) else None
        if made is None:
            self.journal.commit(NoteRun(run=self.run, what=intended, facts=facts))
            made = self.once.send(create, look_up, adopt_conflict=True, most=_POSTS)
        self.journal.commit(NoteRun(run=self.run, what=created, facts={"id": made.id, **facts}))
        return made

    def _is_intended(self, what: str, facts: dict[str, Any]) -> bool:
        kinds = created_kinds(what)
        notes = self.journal.noted(*kinds)
        mine = [kind for kind, noted in notes if facts.items() <= noted.items()]
        return mine[-1:] == [kinds[0]]
