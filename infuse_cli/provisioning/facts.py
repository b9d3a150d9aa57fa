"""What the steps of an attempt know of their board, typed by the step that provides it.

Facts lie in the journal as JSON; a resume reads them back from there. A property raises KeyError
where its step has not provided the fact yet, which the plan's check of `requires` rules out.
"""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - msgspec reads the annotation
from typing import Any

import msgspec

from infuse_cli.api_types import Device


class TokenFacts(msgspec.Struct, frozen=True, rename="camel"):
    """The registration token of the attempt: ids and end of life, never the token."""

    intent: str
    registry_device_id: str | None
    token_id: str | None
    expires_at: datetime | None = None


class CertificateFacts(msgspec.Struct, frozen=True):
    """The board's certificate; `chain` is PEM texts from the issuer upwards, the digests are
    SHA-256 in lower-case hex.
    """

    serial: str
    issuer: str
    sha256: str
    spki: str
    pem: str
    chain: list[str]


class BoardFacts(dict[str, Any]):
    """Facts by name, as they are journalled; the properties are how steps read them."""

    @property
    def functional_mode(self) -> int | None:
        """The modem's functional mode as it was found, to be restored."""
        mode: int | None = self.get("functionalMode")
        return mode

    @property
    def already(self) -> bool:
        """Whether the board PASSed before and is only proved again."""
        return bool(self.get("already"))

    @property
    def metadata(self) -> dict[str, str]:
        """The board's metadata, empty until lookup read it."""
        values: dict[str, str] = self.get("metadata", {})
        return values

    @property
    def existing(self) -> Device | None:
        """The cloud device that lookup found."""
        found = self["existing"]
        return None if found is None else msgspec.convert(found, Device)

    @property
    def device(self) -> Device:
        """The board's cloud device."""
        return msgspec.convert(self["device"], Device)

    @property
    def device_id(self) -> str | None:
        """The id of the cloud device, None until it is registered."""
        return self.device.device_id if self.get("device") else None

    @property
    def keygen(self) -> str:
        """The modem's answer to KEYGEN: the CSR and its attestation."""
        return str(self["keygen"])

    @property
    def key_digest(self) -> str | None:
        """The digest that the modem showed for the key it made."""
        digest: str | None = self.get("keyDigest")
        return digest

    @property
    def csr(self) -> str:
        """The vetted CSR, PEM."""
        return str(self["csr"])

    @property
    def spki(self) -> str:
        """SHA-256 of the public key's SubjectPublicKeyInfo, lower-case hex."""
        return str(self["spki"])

    @property
    def spki_der(self) -> str:
        """The SubjectPublicKeyInfo, base64 of its DER."""
        return str(self["spkiDer"])

    @property
    def mint_name(self) -> str:
        """The registry name that a token is minted under."""
        return str(self["name"])

    @property
    def mint_intent(self) -> str:
        """The intent of the mint under way."""
        return str(self["intent"])

    @property
    def is_token_reused(self) -> bool:
        """Whether a live token is taken up instead of a mint."""
        return bool(self["reused"])

    @property
    def token(self) -> TokenFacts:
        """The registration token."""
        return msgspec.convert(self["token"], TokenFacts)

    @property
    def registry_device(self) -> str | None:
        """The id of the registry device, None where there is none."""
        found: str | None = self.get("registryDevice")
        return found

    @property
    def stored_in(self) -> str:
        """Where the token was put."""
        return str(self.get("tokenStore", "psk"))

    @property
    def token_digests(self) -> dict[str, list[str]]:
        """By credential type, the digests that the modem may show for the token."""
        digests: dict[str, list[str]] = self.get("tokenDigests", {})
        return digests

    @property
    def issued_unseen(self) -> dict[str, str] | None:
        """What is known of a certificate whose answer was lost."""
        found: dict[str, str] | None = self.get("issuedUnseen")
        return found

    @property
    def reserved_serial(self) -> str:
        """The serial that was reserved for the certificate, hex."""
        return str(self["serial"])

    @property
    def reserved_issuer(self) -> str:
        """The issuer under which the serial was reserved."""
        return str(self["issuer"])

    @property
    def certificate(self) -> CertificateFacts | None:
        """The board's certificate, None until there is one."""
        found = self.get("certificate")
        return None if found is None else msgspec.convert(found, CertificateFacts)

    @property
    def server_ca_digest(self) -> str | list[str] | None:
        """The digest of the server CA in the modem."""
        digest: str | list[str] | None = self.get("serverCaDigest")
        return digest

    @property
    def installed(self) -> dict[str, str | list[str]]:
        """By credential type, the digest of what install wrote."""
        digests: dict[str, str | list[str]] = self.get("installed", {})
        return digests

    @property
    def is_heard(self) -> bool:
        """Whether the cloud has heard from the board."""
        return bool(self.get("heard"))
