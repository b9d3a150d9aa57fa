"""Why a cloud refused a credential, told apart by its words: principals are active, suspended or
revoked.

The API documents `{code, message}` with 401 and 403 and no list of messages, so words are matched
by their stems, the more definite first. What fits nothing stays `credential.refused`, with the
server's words.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from infuse_cli.cloud.failures import RawAnswer

_UNAUTHORISED: Final = 401
_LIMIT: Final = 4096

# In order: what a message means, and the words by which it says so.
_WORDS: Final = (
    ("credential.revoked", r"revok|withdrawn|been deleted|no longer exists"),
    ("credential.suspended", r"suspend|disabled|deactivated|inactive|not active|blocked"),
    ("credential.expired", r"expir|out of date|too old"),
    (
        "credential.other-organisation",
        (
            r"(?:another|other|different|wrong|foreign|not (?:a )?(?:member|part)|not belong|no"
            r" access to|does not match).{0,40}ORG"
        ),
    ),
    (
        "credential.other-organisation",
        r"ORG.{0,40}(?:mismatch|does not match|not allowed|another|different)",
    ),
    (
        "credential.no-role",
        (
            r"\brole|permission|privileg|\bscope|insufficient|not permitted|not allowed|access"
            r" denied|not authori[sz]ed to"
        ),
    ),
    ("credential.other-organisation", r"ORG"),
    (
        "credential.wrong-scheme",
        (
            r"\bscheme|authentication type|unsupported auth|authori[sz]ation header|no (?:api"
            r" )?(?:credential|token|key|authori[sz]ation)"
        ),
    ),
    ("credential.wrong-scheme", r"missing (?:api )?(?:credential|token|key|authori[sz]ation)"),
    (
        "credential.wrong-scheme",
        r"(?:credential|token|key|header) (?:is )?(?:missing|required|not provided|was not given)",
    ),
    (
        "credential.malformed",
        (
            r"malformed|cannot be (?:parsed|decoded|read)|invalid (?:token |key |credential"
            r" )?format|not a valid (?:jwt|token format)"
        ),
    ),
)
_MEANINGS: Final = tuple(
    (code, re.compile(words.replace("ORG", "(?:organi[sz]ation|tenant)"))) for code, words in _WORDS
)


def classify_auth_error(answer: RawAnswer, scheme: str) -> str:
    """The code of a refused credential that was sent under an Authorization `scheme` such as
    `Bearer`.
    """
    text = _words(answer)
    found = next((code for code, pattern in _MEANINGS if pattern.search(text)), None)
    if found is not None:
        return found
    wanted = _challenges(answer)
    if answer.status == _UNAUTHORISED and wanted and scheme.lower() not in wanted:
        return "credential.wrong-scheme"
    return "credential.refused"


def _words(answer: RawAnswer) -> str:
    """All that the server says of the refusal, in lower case: texts of its JSON, else of
    its page.
    """
    body = answer.body[:_LIMIT]
    try:
        value: Any = msgspec.json.decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # A page of a proxy says "access denied" too, and means something else.
        return "" if body.lstrip()[:1] == b"<" else body.decode("utf-8", "replace").lower()
    return " ".join(_texts(value)).lower().replace("_", " ").replace("-", " ")


def _texts(value: Any) -> list[str]:
    match value:
        case str():
            return [value[:_LIMIT]]
        case dict():
            return [text for inner in value.values() for text in _texts(inner)]
        case list():
            return [text for inner in value for text in _texts(inner)]
        case _:
            return []


def _challenges(answer: RawAnswer) -> set[str]:
    """Schemes that WWW-Authenticate asks for, in lower case (RFC 9110 §11.6.1)."""
    text = re.sub(r'"[^"]*"', "", answer.headers.get("www-authenticate", ""))
    return {
        words[0].lower()
        for part in text.split(",")
        if (words := part.split()) and "=" not in words[0]
    }
