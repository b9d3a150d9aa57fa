"""The system keyring, which on a line PC is often missing and sometimes hangs.

keyring is imported on first use (150 ms), and every word with it happens in a daemon thread with a
deadline: a locked D-Bus collection waits for a person who is not there.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from infuse_cli.types import Secret

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

SERVICE: Final = "infuse"
DEADLINE_S: Final = 3.0


@dataclass(frozen=True, slots=True)
class RingAnswer(Generic[T]):
    """What the keyring gave; `trouble` is a sentence where it could not be used at all,
    else empty.
    """

    value: T | None = None
    trouble: str = ""


class _Broken:
    """Remembers a keyring that hung, so that the deadline is paid once a process."""

    trouble: str = ""


def get(user: str, *, service: str = SERVICE) -> RingAnswer[Secret]:
    """The secret stored for `user`, `value` None when there is none."""

    def read(keyring: Any) -> Secret | None:
        text = keyring.get_password(service, user)
        return Secret(text) if text else None

    return _ask(read)


def put(user: str, secret: Secret, *, service: str = SERVICE) -> RingAnswer[bool]:
    """Store a secret; `value` is True only when it can be read back (the null backend forgets at
    once).
    """

    def write(keyring: Any) -> bool:
        keyring.set_password(service, user, secret.reveal())
        return bool(keyring.get_password(service, user) == secret.reveal())

    return _ask(write)


def drop(user: str, *, service: str = SERVICE) -> RingAnswer[bool]:
    """Forget a secret; `value` tells whether there was one."""

    def delete(keyring: Any) -> bool:
        if keyring.get_password(service, user) is None:
            return False
        keyring.delete_password(service, user)
        return True

    return _ask(delete)


def _ask(operation: Callable[[Any], T | None]) -> RingAnswer[T]:
    if _Broken.trouble:
        return RingAnswer(trouble=_Broken.trouble)
    box: list[RingAnswer[T]] = []
    thread = threading.Thread(
        target=lambda: box.append(_attempt(operation)), name="keyring", daemon=True
    )
    thread.start()
    thread.join(DEADLINE_S)
    if not box:
        _Broken.trouble = f"the keyring did not answer within {DEADLINE_S:.0f} s (locked?)"
        return RingAnswer(trouble=_Broken.trouble)
    return box[0]


def _attempt(operation: Callable[[Any], T | None]) -> RingAnswer[T]:
    try:
        import keyring
        from keyring.errors import NoKeyringError
    except Exception as error:  # noqa: BLE001 - a half-installed backend raises anything
        return RingAnswer(trouble=f"the keyring cannot be loaded ({type(error).__name__})")
    try:
        return RingAnswer(operation(keyring))
    except NoKeyringError:
        return RingAnswer(trouble="this machine has no keyring")
    # Only the kind of error is told: backends put what they were given into their messages.
    except Exception as error:  # noqa: BLE001 - backends raise errors of their own
        return RingAnswer(trouble=f"the keyring failed ({type(error).__name__})")
