"""What the cloud has already: its paged list, read once to a spill_store on disk.

So rows that exist cost no request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from infuse_cli.api_types import Device

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from infuse_cli import ports
    from infuse_cli.provisioning.context import Resolved


class Existing:
    """The devices of an organisation by mcuId, as far as they are of the run's soc.

    `complete` is False where the list is longer than asking for each row would be: then who is not
    here may exist all the same.
    """

    def __init__(self, spill_store: ports.SpillStore) -> None:
        self._spill_store: Final = spill_store
        self._decode: Final = msgspec.json.Decoder(Device)
        self.complete = False
        self.count = 0

    def read(self, cloud: ports.InfuseApi, resolved: Resolved, most_pages: int) -> None:
        """Read the list to its end, or `most_pages` of it. Raises CloudError, CredentialError."""
        same_soc = {resolved.board.id}
        for number, page in enumerate(cloud.device_pages(resolved.organisation.id)):
            if number >= most_pages:
                return
            unknown = {device.board_id for device in page} - same_soc
            if number == 0 and unknown:
                same_soc |= {
                    board.id
                    for board in cloud.boards(resolved.organisation.id)
                    if board.soc.lower() == resolved.soc.lower()
                }
            self._store(device for device in page if device.board_id in same_soc)
        self.complete = True

    def find(self, mcu_id: str) -> Device | None:
        """The device of an mcuId as it was when the list was read."""
        return self.get_many([mcu_id]).get(mcu_id)

    def get_many(self, mcu_ids: Sequence[str]) -> dict[str, Device]:
        """The devices of these mcuIds as they were when the list was read."""
        found = self._spill_store.get_many(mcu_ids) if self.count else {}
        return {mcu_id: self._decode.decode(value) for mcu_id, value in found.items()}

    def _store(self, devices: Iterable[Device]) -> None:
        encoded = [(device.mcu_id.lower(), msgspec.json.encode(device)) for device in devices]
        self._spill_store.put(encoded)
        self.count += len(encoded)
