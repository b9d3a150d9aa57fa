"""`pkcs11:` keys: a private key that was made in a security token and never leaves it (extra
`pkcs11`).

The key is named by a URI of RFC 7512, e.g.
`pkcs11:token=line-2;object=ca?module-path=/usr/lib/softhsm/libsofthsm2.so`. Without `module-path`
the environment's INFUSE_PKCS11_MODULE says where the token's library is. A PIN is never part of the
URI. Hashing is done here; the token signs the digest (CKM_ECDSA).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar
from urllib.parse import unquote, unquote_to_bytes

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_der_public_key

from infuse_cli.errors import SignerError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from infuse_cli.types import Secret

T = TypeVar("T")

MODULE_VARIABLE: Final = "INFUSE_PKCS11_MODULE"
_PATH: Final = ("token", "serial", "object", "id")
_QUERY: Final = ("module-path",)
_DESCRIBED: Final[dict[str, Callable[[Any, Any], object]]] = {
    "model": lambda _library, token: token.model,
    "manufacturer": lambda _library, token: token.manufacturer_id,
    "library-manufacturer": lambda library, _token: library.manufacturer_id,
    "library-description": lambda library, _token: library.library_description,
    "library-version": lambda library, _token: ".".join(map(str, library.library_version)),
    "slot-id": lambda _library, token: token.slot.slot_id,
    "slot-description": lambda _library, token: token.slot.slot_description,
    "slot-manufacturer": lambda _library, token: token.slot.manufacturer_id,
}
"""Attributes of a token that tools such as p11tool put into its URI, and where they are read."""

_TRIES: Final = 2
_CURVES: Final[dict[bytes, str]] = {
    bytes.fromhex("06082a8648ce3d030107"): "secp256r1",
    bytes.fromhex("06052b81040022"): "secp384r1",
}

_logged_in: Final[dict[tuple[str, bytes], bytes]] = {}
"""SHA-256 of the PIN that opened each token for this process: a token asks for it only once."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a key is: the token's library, the token by label or serial number, the key by label or
    id. `expected` are attributes of RFC 7512 that token, slot and library must have.
    """

    module: str
    token: str | None
    serial: bytes | None
    label: str | None
    id: bytes | None
    expected: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return (
            f"token {self.token or (self.serial or b'').decode(errors='replace')!r}, key"
            f" {self.label or (self.id or b'').hex()!r}"
        )


def parse(uri: str) -> Place:
    """The place that a `pkcs11:` URI names. Raises UsageError usage.bad-option."""
    if not uri.isascii():
        raise _bad("what is not ASCII is written as %XX of its UTF-8 (RFC 7512)")
    path, _, query = uri.partition(":")[2].partition("?")
    given = dict(_pairs(path, ";", (*_PATH, "type", *_DESCRIBED)))
    asked = dict(_pairs(query, "&", _QUERY))
    module = unquote(asked.get("module-path", "")) or os.environ.get(MODULE_VARIABLE, "")
    if not ({"token", "serial"} & set(given)) or not ({"object", "id"} & set(given)):
        raise _bad("it names a token (token= or serial=) and a key (object= or id=)")
    if given.get("type", "private") != "private":
        raise _bad(f"it names a key, type=private, not type={given['type']}")
    if not module:
        raise _bad(f"it ends in ?module-path=/path/of/the/library.so, or {MODULE_VARIABLE} is set")
    return Place(
        module,
        _text(given, "token"),
        _bytes(given, "serial"),
        _text(given, "object"),
        _bytes(given, "id"),
        tuple((name, unquote(given[name])) for name in _DESCRIBED if name in given),
    )


def _pairs(text: str, separator: str, known: tuple[str, ...]) -> list[tuple[str, str]]:
    found = []
    for part in filter(None, text.split(separator)):
        name, _, value = part.partition("=")
        if name in {"pin-value", "pin-source"}:
            raise _bad(
                "it holds no PIN: give that by --passphrase-file, --passphrase-fd, keyring or"
                " prompt"
            )
        if name not in known or not value:
            raise _bad(f"{name!r} is none of {', '.join(known)}")
        found.append((name, value))
    return found


def _text(given: dict[str, str], name: str) -> str | None:
    return unquote(given[name]) if name in given else None


def _bytes(given: dict[str, str], name: str) -> bytes | None:
    return unquote_to_bytes(given[name]) if name in given else None


def _bad(why: str) -> UsageError:
    return UsageError("usage.bad-option", f"the pkcs11: URI cannot be used: {why}")


def open_key(uri: str, pin: Secret) -> TokenKey:
    """The key that the URI names. Raises what `TokenKey` and `parse` raise."""
    key = TokenKey(parse(uri), pin)
    key.public_key()
    return key


def make_key(uri: str, pin: Secret, *, existing: bool = False) -> TokenKey:
    """Make a P-256 key in the token, never to leave it; with `existing` take the one that is there.

    Raises SignerError ca.exists when the name is taken, and what `TokenKey` raises.
    """
    key = TokenKey(parse(uri), pin)
    if key.is_there():
        if not existing:
            raise SignerError(
                "ca.exists",
                f"{key.place} is there already",
                hint="Choose another name for it, or take it as it is with --existing-key.",
            )
    else:
        key.make()
    key.public_key()
    return key


class TokenKey(ec.EllipticCurvePrivateKey):
    """A private key in a token, as `cryptography` expects one; safe to share between threads, which
    take turns.

    A session that died (CKR_SESSION_*, CKR_DEVICE_*, a token pulled out and put back) is opened
    again once for each call. Raises SignerError ca.token when the token does not answer or has no
    such key, ca.bad-passphrase for a wrong PIN, UsageError usage.extra-missing without
    python-pkcs11.
    """

    def __init__(self, place: Place, pin: Secret) -> None:
        self.place: Final = place
        self._pin: Final = pin
        self._lock: Final = threading.RLock()
        self._session: Any = None
        self._key: Any = None
        self._public: ec.EllipticCurvePublicKey | None = None

    def __repr__(self) -> str:
        return f"TokenKey({self.place})"

    def __copy__(self) -> TokenKey:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> TokenKey:
        return self

    @property
    def curve(self) -> ec.EllipticCurve:
        """The key's curve."""
        return self.public_key().curve

    @property
    def key_size(self) -> int:
        """Bits of the curve."""
        return self.curve.key_size

    def public_key(self) -> ec.EllipticCurvePublicKey:
        """The public key, read from the token once."""
        if self._public is None:
            self._public = self._with_session(self._read_public)
        return self._public

    def sign(self, data: Any, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        """An ECDSA signature in DER."""
        algorithm = signature_algorithm.algorithm
        digest = (
            bytes(data)
            if isinstance(algorithm, Prehashed)
            else hashlib.new(algorithm.name, data).digest()
        )
        raw: bytes = self._with_session(
            lambda _session: self._private().sign(digest, mechanism=_library().Mechanism.ECDSA)
        )
        half = len(raw) // 2
        return encode_dss_signature(
            int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big")
        )

    def exchange(self, algorithm: ec.ECDH, peer_public_key: ec.EllipticCurvePublicKey) -> NoReturn:
        """Not for a CA's key."""
        raise NotImplementedError

    def private_numbers(self) -> NoReturn:
        """The key never leaves its token."""
        raise NotImplementedError

    def private_bytes(self, encoding: Any, format: Any, encryption_algorithm: Any) -> NoReturn:  # noqa: A002 - the library's name
        """The key never leaves its token."""
        raise NotImplementedError

    def is_there(self) -> bool:
        """Whether the token has a private key of this name."""
        return self._with_session(lambda session: bool(_objects(session, self._attributes())))

    def make(self) -> None:
        """Make the key: sensitive, not extractable, for signing alone."""
        self._with_session(self._generate, writing=True)

    def _generate(self, session: Any) -> None:
        lib = _library()
        attribute = lib.Attribute
        from pkcs11.util.ec import encode_named_curve_parameters

        parameters = session.create_domain_parameters(
            lib.KeyType.EC,
            {attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")},
            local=True,
        )
        fixed = {attribute.SENSITIVE: True, attribute.EXTRACTABLE: False, attribute.SIGN: True}
        parameters.generate_keypair(
            store=True,
            label=self.place.label,
            id=self.place.id or hashlib.sha256(str(self.place.label).encode()).digest()[:8],
            capabilities=lib.MechanismFlag.SIGN | lib.MechanismFlag.VERIFY,
            private_template=fixed,
        )

    def _attributes(self, kind: str = "PRIVATE_KEY") -> dict[Any, Any]:
        lib = _library()
        named = ((lib.Attribute.LABEL, self.place.label), (lib.Attribute.ID, self.place.id))
        return {
            lib.Attribute.CLASS: lib.ObjectClass[kind],
            **{name: value for name, value in named if value is not None},
        }

    def _private(self) -> Any:
        if self._key is None:
            self._key = self._only(self._session, "PRIVATE_KEY")
        return self._key

    def _only(self, session: Any, kind: str) -> Any:
        found = _objects(session, self._attributes(kind))
        if len(found) != 1:
            raise SignerError(
                "ca.token",
                f"{self.place} has {len(found) or 'no'} {kind.lower().replace('_', ' ')}s of this"
                " name",
            )
        return found[0]

    def _read_public(self, session: Any) -> ec.EllipticCurvePublicKey:
        from pkcs11.util.ec import encode_ec_public_key

        key = load_der_public_key(encode_ec_public_key(self._only(session, "PUBLIC_KEY")))
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(
            key.curve, ec.SECP256R1
        ):
            raise SignerError("ca.token", f"{self.place} is not a P-256 key")
        return key

    def _with_session(self, work: Callable[[Any], T], *, writing: bool = False) -> T:
        """Do it in the open session; one that died is opened again, once."""
        lib = _library()
        with self._lock:
            for left in reversed(range(_TRIES)):
                try:
                    return work(self._opened(writing=writing))
                except (lib.PinIncorrect, lib.PinInvalid, lib.PinLenRange):
                    raise SignerError(
                        "ca.bad-passphrase",
                        f"the PIN does not open {self.place}",
                        hint=(
                            "Type it again, or check the PIN file. A token locks after a few wrong"
                            " ones."
                        ),
                    ) from None
                except lib.PKCS11Error as error:
                    self._forget()
                    if left == 0 or isinstance(error, lib.PinLocked):
                        raise SignerError(
                            "ca.token", f"{self.place} does not answer: {_told(error)}"
                        ) from None
        raise AssertionError("unreachable: the last try returns or raises")

    def _opened(self, *, writing: bool) -> Any:
        if self._session is not None and not writing:
            return self._session
        self._forget()
        token = _token(self.place)
        for name, wanted in self.place.expected:
            found = str(_DESCRIBED[name](_library().lib(self.place.module), token)).strip()
            if found != wanted:
                raise SignerError(
                    "ca.token", f"{self.place}: its {name} is {found!r}, the URI says {wanted!r}"
                )
        who = (self.place.module, bytes(token.serial))
        pin = hashlib.sha256(self._pin.reveal().encode()).digest()
        try:
            self._session = token.open(rw=writing, user_pin=self._pin.reveal())
            _logged_in[who] = pin
        except (
            _library().UserAlreadyLoggedIn
        ):  # another key of this process is open in the same token: the PIN counts all the same
            if _logged_in.get(who) != pin:
                raise _library().PinIncorrect from None
            self._session = token.open(rw=writing)
        return self._session

    def _forget(self) -> None:
        session, self._session, self._key = self._session, None, None
        if session is not None:
            try:
                session.close()
            except _library().PKCS11Error:
                return


def _objects(session: Any, attributes: dict[Any, Any]) -> list[Any]:
    """All objects that fit.

    A search in a dead session would leave a complaint on stderr later, so that is asked first.
    """
    lib = _library()
    with contextlib.suppress(lib.RandomNoRNG, lib.FunctionNotSupported):
        session.generate_random(64)
    return list(session.get_objects(attributes))


def _library() -> Any:
    try:
        import pkcs11
    except ImportError:
        raise UsageError(
            "usage.extra-missing",
            "keys in a token need the extra `pkcs11`",
            hint="pip install 'infuse-line[pkcs11]'",
        ) from None
    return pkcs11


def _token(place: Place) -> Any:
    """The token; its library looks at the slots anew when it was not there, as after it was pulled
    out and put back.
    """
    lib = _library()
    try:
        module = lib.lib(place.module)
    except (OSError, RuntimeError, lib.PKCS11Error) as error:
        raise SignerError(
            "ca.token", f"the token's library {place.module} cannot be loaded: {_told(error)}"
        ) from None
    wanted = {"token_label": place.token, "token_serial": place.serial}
    asked = {name: value for name, value in wanted.items() if value is not None}
    try:
        return module.get_token(**asked)
    except lib.PKCS11Error:
        module.reinitialize()
        return module.get_token(**asked)


def _told(error: Exception) -> str:
    return str(error) or type(error).__name__
