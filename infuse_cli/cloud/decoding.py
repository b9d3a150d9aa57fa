"""Reading answers and the shapes of answers that stay inside the room.

Unknown fields are ignored, `null` counts as absent, a missing required field is an error that names
the call and the field, and a time without a zone is refused.
"""

from __future__ import annotations

import base64
import binascii
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from infuse_cli import api_types as api
from infuse_cli.cloud.failures import date_of, printable, server_message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from infuse_cli.cloud.failures import Answer
    from infuse_cli.errors import InfuseError

T = TypeVar("T")

PAGE: Final = 100
"""Items of a page: the most that the APIs give."""

_LONGEST_LIFE_S: Final = 366 * 86400.0
_CERTIFICATE: Final = re.compile(
    r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL
)


class KeyAnswer(api.ApiObject, frozen=True):
    """Answer of the `/key/…` calls: base64 of 32 bytes. Never put into a message."""

    key: str


class HealthAnswer(api.ApiObject, frozen=True):
    """Answer of GET /health."""

    health: str


class ExchangeAnswer(api.ApiObject, frozen=True):
    """Answer of POST /iam/auth/token, whose shape is not published: one of each pair; `expires_in`
    is in seconds.
    """

    token: str | None = None
    access_token: str | None = None
    expires_at: api.Moment | None = None
    expires_in: float | None = None


class ProvisionAnswer(api.ApiObject, frozen=True):
    """Answer of POST /devices/provision: `ca_chain` is one PEM bundle or a list of PEM texts."""

    device_id: api.RegistryId
    certificate: str
    ca_chain: str | tuple[str, ...] = ()


def value(answer: Answer, type_: type[T], same: Mapping[str, object] | None = None) -> T:
    """The answer's body as a value of `type_`.

    `same` are members, by their name on the wire, that were asked for: where the type has them, the
    answer has to have the same; None was not asked for. Raises CloudError cloud.bad-answer, unknown
    for an effect call.
    """
    found = _convert(answer, _json(answer), type_)
    attributes = _attributes(type_) if same else {}
    for name, wanted in (same or {}).items():
        attribute = attributes.get(name)
        actual = wanted if attribute is None else getattr(found, attribute)
        if wanted is not None and actual != wanted and not _is_same_id(name, actual, wanted):
            raise _bad(
                answer,
                f"answered with another {type_.__name__}: {name} is '{printable(str(actual))}' and"
                f" not '{wanted}'",
            )
    return found


def _attributes(type_: Any) -> Mapping[str, str]:
    """Our names of the members of a type, by each name that they may have on the wire."""
    fields = dict(zip(type_.__struct_encode_fields__, type_.__struct_fields__, strict=True))
    others = {
        other: fields[name]
        for name, other in _OTHER_NAMES.get(type_, ())
        if name in fields and other not in fields
    }
    return {**others, **fields}


def _is_same_id(name: str, actual: object, wanted: object) -> bool:
    """Ids are hex digits, which people also write in upper case."""
    return name.lower().endswith("id") and str(actual).lower() == str(wanted).lower()


def page(answer: Answer, type_: type[T]) -> tuple[T, ...]:
    """The items of a list, bare or as `{items: […]}`."""
    body = _json(answer)
    items = body.get("items") if isinstance(body, dict) else body
    if not isinstance(items, list):
        raise _bad(answer, "answered with something other than a list")
    return tuple(_convert(answer, item, type_) for item in items)


def key32(answer: Answer) -> bytes:
    """The 32 bytes of a `/key/…` answer."""
    text = value(answer, KeyAnswer).key
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != 32:
        raise _bad(answer, "answered with a key that is not base64 of 32 bytes")
    return key


def bearer_token(answer: Answer) -> api.BearerToken:
    """The token of an exchange and when it ends.

    Its life is counted by the server's own clock where the answer shows it, since this machine's
    may be wrong.
    """
    found = value(answer, ExchangeAnswer)
    token = found.token or found.access_token
    if not token or not (token.isascii() and token.isprintable()) or " " in token:
        raise _bad(answer, "answered with neither a usable `token` nor `accessToken`")
    now = datetime.now(UTC)
    ends, life_s = found.expires_at, found.expires_in
    if ends is not None:
        life_s = (ends - (date_of(answer.raw) or now)).total_seconds()
    elif life_s is not None:
        ends = now + timedelta(seconds=max(0.0, min(life_s, _LONGEST_LIFE_S)))
    if life_s is not None and life_s <= 0:
        if ends is not None and date_of(answer.raw) is None:
            return api.BearerToken(
                token=token, expires_at=ends
            )  # this machine's clock may be the wrong one
        raise _bad(answer, "answered with a token that has expired already")
    return api.BearerToken(token=token, expires_at=ends, life_s=life_s)


def time_text(moment: datetime | None) -> str | None:
    """A time as the APIs take it in a query: ISO 8601 UTC with milliseconds and Z."""
    return (
        None
        if moment is None
        else moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )


def members(answer: Answer) -> dict[str, Any]:
    """The answer's body as a JSON object, as it came but for nulls."""
    body = _json(answer)
    if not isinstance(body, dict):
        raise _bad(answer, "answered with something other than an object")
    return body


def provisioned(answer: Answer) -> api.Provisioned:
    """Certificate and chain, each PEM text on its own with a final LF."""
    found = value(answer, ProvisionAnswer)
    leaf = pem_certificates(found.certificate)
    if not leaf:
        raise _bad(answer, "answered without a PEM certificate in `certificate`")
    bundle = found.ca_chain if isinstance(found.ca_chain, str) else "\n".join(found.ca_chain)
    # Some servers put the whole chain behind the leaf.
    chain = pem_certificates(bundle) or leaf[1:]
    return api.Provisioned(device_id=found.device_id, certificate=leaf[0], ca_chain=chain)


def _json(answer: Answer) -> Any:
    try:
        return without_nulls(msgspec.json.decode(answer.raw.body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        words = server_message(answer.raw) or "nothing"
        raise _bad(answer, f"answered {answer.raw.status}, but with {words}") from None


def _convert(answer: Answer, body: Any, type_: type[T]) -> T:
    if isinstance(body, dict):
        body = _with_other_names(body, type_)
    try:
        return msgspec.convert(body, type_)
    except msgspec.ValidationError as error:
        why = _reason(str(error))
        raise _bad(answer, f"answered with an unexpected {type_.__name__}: {why}") from error


def _reason(text: str) -> str:
    """What msgspec says, without the pattern that a text should have matched."""
    what, _, place = text.partition(" - at ")
    if "matching regex" in what:
        return printable(f"{place} is not of the form that it has to have")
    return printable(text)


# What the interface leaves open or spells in two ways: our name, and what a server may say.
_OTHER_NAMES: Final[dict[type, tuple[tuple[str, str], ...]]] = {
    api.RegistryDevice: (("id", "deviceId"),),
    api.DeviceHealth: (
        ("recordedAt", "timestamp"),
        ("recordedAt", "createdAt"),
        ("uptime", "uptimeSeconds"),
    ),
}


def _with_other_names(body: dict[str, Any], type_: type) -> dict[str, Any]:
    for name, other in _OTHER_NAMES.get(type_, ()):
        if name not in body and other in body:
            body = {**body, name: body[other]}
    return body


def _bad(answer: Answer, cause: str) -> InfuseError:
    return answer.errors.unreadable(cause, answer.raw)


def without_nulls(value: Any) -> Any:
    """JSON values with every `null` member of an object left out."""
    match value:
        case dict():
            return {key: without_nulls(item) for key, item in value.items() if item is not None}
        case list():
            return [without_nulls(item) for item in value]
        case _:
            return value


def pem_certificates(text: str) -> tuple[str, ...]:
    """The PEM certificates of a bundle, in order, with LF line ends and a final LF each."""
    return tuple(block.replace("\r\n", "\n") + "\n" for block in _CERTIFICATE.findall(text))


def read_to_end(fetch: Callable[[int], tuple[T, ...]], key: Callable[[T], str]) -> tuple[T, ...]:
    """All items of a paged list; `fetch(offset)` gives a page.

    A page shorter than was asked for is not the end: a server may give fewer at a time than
    `limit`. The end is an empty page, or one that brings nothing new, which a server gives that
    ignores the offset.
    """
    found: dict[str, T] = {}
    offset = 0
    while True:
        page = fetch(offset)
        before = len(found)
        for item in page:
            found.setdefault(key(item), item)
        offset += len(page)
        if not page or len(found) == before:
            return tuple(found.values())


def pages(
    fetch: Callable[[int], tuple[T, ...]], key: Callable[[T], str]
) -> Iterator[tuple[T, ...]]:
    """The pages of a list, for those that may be longer than memory: an item may come twice where
    the list moves meanwhile.

    Ends at an empty page, or at one that is the page before once more: that server ignores the
    offset.
    """
    offset, before = 0, ""
    while True:
        page = fetch(offset)
        if not page or key(page[0]) == before:
            return
        yield page
        offset, before = offset + len(page), key(page[0])
