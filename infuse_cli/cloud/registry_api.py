"""Client of the device registry, an adapter of `ports.RegistryApi`.

Source: `docs/reference/interfaces/device-registry-api.md`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from infuse_cli import api_types as api
from infuse_cli.cloud import decoding
from infuse_cli.cloud._client import ABSENT, Client
from infuse_cli.cloud.failures import Call
from infuse_cli.cloud.inventory import InventoryCalls
from infuse_cli.errors import CloudError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from infuse_cli.types import Secret

API_PATH: Final = "/api/v1"

_USED: Final = 409

MINT_TOKEN: Final = Call("POST", "/devices/registration/tokens", effect=True)
PENDING_TOKENS: Final = Call("GET", "/devices/registration/tokens")
REVOKE_TOKEN: Final = Call(
    "DELETE", "/devices/registration/tokens/{tokenId}", effect=True, none=ABSENT
)
PROVISION: Final = Call("POST", "/devices/provision", effect=True, credential=False)
DEVICES: Final = Call("GET", "/devices")
DEVICE: Final = Call("GET", "/devices/{deviceId}", none=ABSENT)
CREATE_DEVICE: Final = Call("POST", "/devices", effect=True)
UPDATE_DEVICE: Final = Call("PUT", "/devices/{deviceId}", effect=True)
SUMMARY: Final = Call("GET", "/devices/summary")
DELETE_DEVICE: Final = Call("DELETE", "/devices/{deviceId}", effect=True, none=ABSENT)


class RegistryClient(InventoryCalls, Client):
    """The device registry over one transport; safe to share between threads."""

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
        body = {
            "name": name,
            "metadata": dict(metadata) or None,
            "tags": list(tags) or None,
            "siteId": site_id,
            "deviceProfileId": device_profile_id,
            "expiresInSeconds": expires_in_s,
            "location": location,
        }
        return self._send(MINT_TOKEN, api.MintedToken, body, same=("name",))

    def pending_tokens(self) -> Sequence[api.PendingToken]:
        """All pending tokens without their secrets, the list read to its end."""
        return self._list(PENDING_TOKENS, api.PendingToken, {})

    def revoke_token(self, token_id: str) -> bool:
        """True when revoked or already gone (404), False when already used or revoked (409)."""
        return self.end_token(token_id) is not api.TokenEnd.USED

    def end_token(self, token_id: str) -> api.TokenEnd:
        """As `revoke_token`, telling a token that was revoked now from one that the registry does
        not know.
        """
        try:
            found = self._transport.find(REVOKE_TOKEN, path={"tokenId": token_id})
        except CloudError as error:
            if error.status != _USED:
                raise
            return api.TokenEnd.USED
        return api.TokenEnd.UNKNOWN if found is None else api.TokenEnd.REVOKED

    def provision(self, token: Secret, csr_pem: str) -> api.Provisioned:
        """POST /devices/provision without an Authorization header, once.

        CloudError carries the status: 400 a bad CSR, 401 an unknown token, 409 or 410 a token used,
        revoked or expired.
        """
        body = {"token": token.reveal(), "csr": csr_pem}
        answer = self._transport.ask(PROVISION, body=body, hide=(token,))
        return decoding.provisioned(answer)

    def device(self, registry_device_id: str) -> api.RegistryDevice | None:
        """One registry device by its registryDeviceId."""
        return self._find(
            DEVICE,
            api.RegistryDevice,
            {"deviceId": registry_device_id},
        )

    def device_by_name(self, name: str) -> api.RegistryDevice | None:
        """The registry device of exactly this name.

        Raises CloudError cloud.ambiguous when there are several.
        """
        found = [
            device for device in self._list(DEVICES, api.RegistryDevice, {}) if device.name == name
        ]
        if len(found) > 1:
            ids = ", ".join(device.id for device in found)
            raise CloudError(
                "cloud.ambiguous",
                f"the registry has {len(found)} devices named '{name}': {ids}",
                call=DEVICES.name,
            )
        return found[0] if found else None

    def devices(self) -> Sequence[api.RegistryDevice]:
        """All registry devices, the list read to its end."""
        return self._list(DEVICES, api.RegistryDevice, {})

    def device_pages(self) -> Iterator[Sequence[api.RegistryDevice]]:
        """All registry devices page by page, for those that are more than memory holds."""
        return self._pages(DEVICES, api.RegistryDevice, {})

    def pending_pages(self) -> Iterator[Sequence[api.PendingToken]]:
        """All pending tokens page by page."""
        return self._pages(PENDING_TOKENS, api.PendingToken, {})

    def create_device(self, name: str, members: Mapping[str, Any]) -> api.RegistryDevice:
        """POST a registry device without a token, once.

        A taken name raises CloudError with status 409.
        """
        body = {"name": name, **members}
        return self._send(CREATE_DEVICE, api.RegistryDevice, body, same=("name",))

    def change_device(
        self, registry_device_id: str, changes: Mapping[str, Any]
    ) -> api.RegistryDevice | None:
        """PUT a registry device with these members changed, once; None when there is no such
        device.
        """
        return self._change(
            DEVICE, UPDATE_DEVICE, {"deviceId": registry_device_id}, changes, api.RegistryDevice
        )

    def summary(self) -> api.RegistrySummary:
        """How many registry devices there are, by status."""
        answer = self._transport.ask(SUMMARY)
        return decoding.value(answer, api.RegistrySummary)

    def delete_device(self, registry_device_id: str) -> None:
        """DELETE the registry device, once; one that is already gone is fine."""
        self._transport.find(DELETE_DEVICE, path={"deviceId": registry_device_id})
