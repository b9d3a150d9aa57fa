"""What an answer or a lost connection means: which error it is, and whether the call may be
repeated.
"""

from __future__ import annotations

import enum
import html
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import msgspec

from infuse_cli.cloud import denials
from infuse_cli.errors import CloudError, CredentialError, InfuseError
from infuse_cli.expiry import expires_at
from infuse_cli.types import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_TITLE: Final = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
_UNAUTHORISED: Final = 401
_EXCERPT: Final = 80
_MESSAGE_LIMIT: Final = 400

LONGEST_RETRY_AFTER_S: Final = 3600.0
"""Seconds for which a Retry-After holds back; then the server is asked anew."""

_ABSURD_RETRY_AFTER_S: Final = 86400.0
_WEEKDAY: Final = r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]{0,6},? "


@dataclass(frozen=True, slots=True)
class Call:
    """One row of an API: what is sent and how it may be repeated.

    `path` is a template; `effect` marks calls that leave something behind and are therefore sent
    once; `none` lists the statuses that mean "there is no such thing"; `credential` is False where
    the request body is its own credential and no Authorization header may go along; `key_in_body`
    says that this is the API credential, so that a 401 speaks of it all the same.
    """

    method: str
    path: str
    effect: bool = False
    none: frozenset[int] = frozenset()
    credential: bool = True
    key_in_body: bool = False

    @property
    def name(self) -> str:
        """What errors and fail-points call it, e.g. `POST /device`."""
        return f"{self.method} {self.path}"


class Failure(enum.Enum):
    """Why a try failed, as far as repeating goes."""

    NEVER_SENT = "never sent"
    NOT_DONE = "not done"
    LOST = "lost"
    FINAL = "final"


class TryFailed(Exception):  # noqa: N818 - internal, never leaves the room
    """A failed try: its kind, the error to raise when it is the last, and the wait that the server
    asked for.
    """

    def __init__(self, kind: Failure, error: InfuseError, *, wait_s: float | None = None) -> None:
        super().__init__(str(error))
        self.kind: Final = kind
        self.error: Final = error
        self.wait_s: Final = wait_s


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """An HTTP answer as it came. `headers` have lower-case names."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def request_id(self) -> str | None:
        """The server's own name for this exchange, for its support people."""
        return self.headers.get("x-request-id")


def is_unauthorised(error: InfuseError) -> bool:
    """Whether the cloud answered 401 to the credential: a newer token may do better."""
    return isinstance(error, CredentialError) and error.details.get("status") == _UNAUTHORISED


def may_be_repeated(call: Call, kind: Failure) -> bool:
    """Whether a call that failed so may be sent again inside."""
    match kind:
        case Failure.NEVER_SENT | Failure.NOT_DONE:
            return True
        case Failure.LOST:
            return not call.effect
        case Failure.FINAL:
            return False


class ErrorFactory:
    """Builds the errors of one host; masks the secrets of the call in everything that the server
    said.
    """

    def __init__(
        self, call: Call, netloc: str, hidden: Sequence[str] = (), scheme: str = "Bearer"
    ) -> None:
        self._call = call
        self._netloc = netloc
        self._hidden = tuple(text for text in hidden if text)
        self._scheme = scheme

    def lost(self, code: str, cause: str) -> TryFailed:
        """The answer never came, although the request may have arrived."""
        return TryFailed(Failure.LOST, self._error(code, cause, unknown=self._call.effect))

    def never_sent(
        self, code: str, cause: str, *, final: bool = False, hint: str | None = None
    ) -> TryFailed:
        """The request did not leave this machine; `final` when trying again cannot help."""
        return TryFailed(
            Failure.FINAL if final else Failure.NEVER_SENT, self._error(code, cause, hint=hint)
        )

    def busy(self, wait_s: float) -> TryFailed:
        """The host asked everybody to wait for longer than this call may take; nothing was sent."""
        cause = f"was not sent: the server asked to wait, for {wait_s:.0f} s more"
        return TryFailed(
            Failure.FINAL, self._error("cloud.unavailable", cause, retry_after_s=wait_s)
        )

    def unreadable(self, cause: str, answer: RawAnswer) -> InfuseError:
        """A success whose body cannot be understood: for a call with effect it may have
        happened.
        """
        return self._error(
            "cloud.bad-answer", self.mask(cause), answer=answer, unknown=self._call.effect
        )

    def status(self, answer: RawAnswer) -> TryFailed:
        """What an answer other than 2xx means."""
        words = self.mask(server_message(answer))
        cause = f"answered {answer.status}" + (f": {words}" if words else "")
        kind, code = self._meaning(answer)
        match code:
            case "credential.refused":
                return TryFailed(kind, self._refused_credential(cause, answer))
            case _ if 300 <= answer.status < 400:
                return TryFailed(kind, self._redirected(answer))
        wait_s = retry_after_s(answer) if kind is Failure.NOT_DONE else None
        unknown = self._call.effect and kind is Failure.LOST
        return TryFailed(
            kind,
            self._error(code, cause, answer=answer, unknown=unknown, retry_after_s=wait_s),
            wait_s=wait_s,
        )

    def _meaning(self, answer: RawAnswer) -> tuple[Failure, str]:
        """Kind of failure and error code of an answer other than 2xx."""
        meaning = Failure.FINAL, "cloud.refused"
        match answer.status:
            case 401 | 403 if self._call.credential or self._call.key_in_body:
                meaning = Failure.FINAL, "credential.refused"
            case 429:
                meaning = Failure.NOT_DONE, "cloud.unavailable"
            case 503 if retry_after_s(answer) is not None:
                meaning = Failure.NOT_DONE, "cloud.unavailable"
            case 408:
                meaning = Failure.LOST, "cloud.timeout"
            case status if status >= 500:
                meaning = Failure.LOST, "cloud.unavailable"
            case status if status < 400 or _is_page(answer):
                meaning = Failure.FINAL, "cloud.bad-answer"
        return meaning

    def mask(self, text: str) -> str:
        """The text without the secrets of this call."""
        for secret in self._hidden:
            text = text.replace(secret, "***")
        return text

    def _refused_credential(self, cause: str, answer: RawAnswer) -> InfuseError:
        details = {"status": answer.status, "requestId": answer.request_id}
        code = denials.classify_auth_error(answer, self._scheme)
        end = next(
            (end for text in self._hidden if (end := expires_at(Secret(text))) is not None), None
        )
        if code == "credential.refused" and end is not None and end <= datetime.now(UTC):
            code, cause = (
                "credential.expired",
                f"{cause}; it says itself that it expired at {end:%Y-%m-%d %H:%M} UTC",
            )
        return CredentialError(code, self._sentence(cause, answer), details=details)

    def _redirected(self, answer: RawAnswer) -> InfuseError:
        # After 302 and 303 the request may have been carried out; 301, 307 and 308 mean "not here".
        unknown = self._call.effect and answer.status in {302, 303}
        cause = (
            f"answered {answer.status}: it points to {self.mask(_bare_location(answer))}, which is"
            " not followed"
        )
        return self._error("cloud.bad-answer", cause, answer=answer, unknown=unknown)

    def _error(
        self,
        code: str,
        cause: str,
        *,
        answer: RawAnswer | None = None,
        unknown: bool = False,
        retry_after_s: float | None = None,
        hint: str | None = None,
    ) -> CloudError:
        return CloudError(
            code,
            self._sentence(cause, answer),
            unknown=unknown,
            hint=hint,
            call=self._call.name,
            retry_after_s=retry_after_s,
            status=answer.status if answer else None,
            request_id=answer.request_id if answer else None,
        )

    def _sentence(self, cause: str, answer: RawAnswer | None) -> str:
        asked = (
            f" (request id {printable(answer.request_id)})" if answer and answer.request_id else ""
        )
        return f"{self._call.name} at {self._netloc} {cause}{asked}"


@dataclass(frozen=True, slots=True)
class Answer:
    """A 2xx answer, and the errors of errors for the case that its body cannot be read."""

    raw: RawAnswer
    errors: ErrorFactory


def server_message(answer: RawAnswer) -> str:
    """The server's own words: `message` of its JSON error, an HTML page's title, else the first
    characters.
    """
    try:
        body: Any = msgspec.json.decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _page_excerpt(answer.body)
    if isinstance(body, dict):
        for key in ("message", "detail", "error", "title"):
            if isinstance(body.get(key), str):
                return printable(body[key])[:_MESSAGE_LIMIT]
    return ""


def _page_excerpt(body: bytes) -> str:
    text = body[:16384].decode("utf-8", "replace")
    title = _TITLE.search(text)
    if title:
        return f"a page titled '{printable(html.unescape(title[1]))[:_EXCERPT]}'"
    # What looks like cut-off JSON may hold a secret that the key names would have hidden.
    if text.lstrip()[:1] in {"{", "["}:
        return "JSON that is cut off or broken"
    excerpt = printable(text)[:_EXCERPT]
    return f"'{excerpt}'" if excerpt else ""


def printable(text: str) -> str:
    """The text on one line without control characters."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def retry_after_s(answer: RawAnswer) -> float | None:
    """Seconds that Retry-After asks for, as a whole number or an HTTP date (RFC 9110, 10.2.3).

    None without it, for what is neither, and for more than a day: no server means that. At most
    LONGEST_RETRY_AFTER_S, after which the server is asked anew.
    """
    text = answer.headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", text):
        seconds = float(text)
    elif re.match(_WEEKDAY, text) and (moment := http_date(text)) is not None:
        now = date_of(answer) or datetime.now(UTC)
        seconds = max(0.0, (moment - now).total_seconds())
    else:
        return None
    return min(seconds, LONGEST_RETRY_AFTER_S) if seconds <= _ABSURD_RETRY_AFTER_S else None


def date_of(answer: RawAnswer) -> datetime | None:
    """The answer's Date header as an aware UTC time, None without a readable one."""
    return http_date(answer.headers.get("date", ""))


def http_date(text: str) -> datetime | None:
    """An HTTP date as an aware time, None when it is none."""
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


# What OpenSSL says of a server's certificate (X509_verify_cert_error_string): what it means, and
# what to do.
_DISTRUST: Final = (
    ("not yet valid", "is not valid yet", "Check this machine's clock."),
    ("expired", "has expired", "Its operator has to renew it; check this machine's clock too."),
    (
        "mismatch",
        "is made out to another name",
        "Check cloud.base_url: another server may have answered.",
    ),
    (
        "not valid for",
        "is made out to another name",
        "Check cloud.base_url: another server may have answered.",
    ),
)
_DISTRUSTED: Final = (
    "is not trusted",
    "--ca-bundle FILE or cloud.ca_bundle names another authority; do so only if you know why.",
)


def distrust(why: str) -> tuple[str, str]:
    """Cause and hint for a server's certificate that OpenSSL does not accept, from its words."""
    short = why.partition("certificate verify failed: ")[2].partition(" (_ssl")[0] or why
    _, what, hint = next((row for row in _DISTRUST if row[0] in why), ("", *_DISTRUSTED))
    return f"the server's certificate {what} ({short})", hint


def _is_page(answer: RawAnswer) -> bool:
    return answer.body.lstrip()[:1] == b"<"


def means_absent(call: Call, answer: RawAnswer) -> bool:
    """Whether this answer says "there is no such thing".

    A web page does not: that is a proxy or another service talking, and taking its 404 for the
    cloud's would let a device be registered twice.
    """
    return answer.status in call.none and not _is_page(answer)


def _bare_location(answer: RawAnswer) -> str:
    try:
        parts = urlsplit(answer.headers.get("location", ""))
    except ValueError:
        return "a location that is no URL"
    host = parts.netloc.rpartition("@")[2]
    return printable(f"{parts.scheme}://{host}{parts.path}" if host else parts.path) or "nowhere"
