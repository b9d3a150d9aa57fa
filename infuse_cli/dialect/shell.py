r"""Host codec of the Zephyr shell, for dialects `at-shell` and `cred-shell`.

An AT command travels as `at '<command>'` with each line feed of a PEM as the two characters `\n`;
any other text is a shell line as it stands. Prompt, echo (wrapped at the terminal's width too),
ANSI codes, log lines that the shell puts between, and garbage give the same replies. A shell line
has no status: its last line says how it went, and where a command says nothing, the next prompt
does. Sources: Zephyr subsys/shell and tls_credentials_shell; sdk-nrf lib/at_shell;
`docs/reference/interfaces/board-serial.md#zephyr-shells`.
"""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Final

from infuse_cli.dialect.at import NOISE, AtCodec, checked
from infuse_cli.dialect.base import CodecOptions, Heard, LinkEvent, LinkState, after, head
from infuse_cli.errors import ProfileError

if TYPE_CHECKING:
    from infuse_cli.types import Command

LINE_LIMIT: Final = 3584
"""Bytes of a shell line with its end (CONFIG_SHELL_CMD_BUFF_SIZE of modem_shell); a profile may say
less.
"""

INTERRUPT: Final = b"\x03"
"""Ctrl-C: the shell forgets a half line, which a line end alone would carry out."""

_PROMPT: Final = re.compile(r"[\w.@-]{1,24}:~\$ ?")
_LEADING_PROMPTS: Final = re.compile(r"(?:[\w.@-]{1,24}:~\$ ?)+")
_AT: Final = re.compile(r"AT", re.IGNORECASE)
_UNSENDABLE: Final = re.compile(r"[^ -~]")

_AT_FAILED: Final = re.compile(
    r"Sending AT command failed with error code -?\d+|at: command not found|not terminated: .*"
)
_FAILED: Final = re.compile(
    r".*: command not found|.*: wrong parameter count|not terminated: .*|Please specify a"
    r" subcommand\.|.* already exists.*"
    r"|Could not decode input .*|No reference slot available.*|Not enough (?:room|heap).*|Failed to"
    r" .*|There is no TLS credential .*"
    r"|Deleting TLS credential .* failed with error: .*|.* is not a valid (?:sectag|credential"
    r" type|backend|storage format)\."
    r"|Please provide a credential to add\.|(?:Key generation|CSR generation|Key deletion|Public"
    r" key export|Base64 encoding) failed: .*"
    r"|Invalid sec tag: .*|Setting not found.*|Unable to .*"
)

_NAMES_ITS_COMMAND: Final = re.compile(r"(.*\S): (?:command not found|wrong parameter count)")

# Beginning of a shell command, and the line that ends it well; a command that is not here ends with
# the next prompt.
_ENDS: Final = tuple(
    (begin, re.compile(pattern))
    for begin, pattern in (
        ("cred buf ", r"Stored \d+ bytes\."),
        ("cred add ", r"Added TLS credential of type .*"),
        ("cred del ", r"Deleted TLS credential with .*"),
        ("cred list", r"\d+ credentials? found\."),
        ("hwinfo devid", r"ID: *(?:0x)?[0-9A-Fa-f]+"),
        ("nrf_cloud_cred keygen", r"Generated device key .*"),
        ("nrf_cloud_cred csr", r"CSR generation complete"),
        ("nrf_cloud_cred delete", r"Deleted device key .*"),
        ("nrf_cloud_cred pubkey", r"Public key export complete"),
    )
)
_SILENT: Final = ("cred buf clear",)  # says nothing when there is nothing to clear


class ShellCodec(AtCodec):
    """Host role of both shell dialects; see `base.Codec`.

    They differ in what they ask to get into step.
    """

    NAME = "at-shell"
    _ASKS = "at AT"
    _ENDS_WELL = re.compile(r"OK")
    _ENDS_BADLY = re.compile(
        r"at: command not found|Sending AT command failed with error code -?\d+"
    )

    def __init__(self, options: CodecOptions | None = None) -> None:
        chosen = options or CodecOptions()
        super().__init__(dataclasses.replace(chosen, line_limit=min(chosen.line_limit, LINE_LIMIT)))
        self._is_at = True
        self._ends: re.Pattern[str] | None = None
        self._echoed = False
        self._echoes = False  # whether this shell was seen to repeat what it is sent
        self.prompted = False
        """Whether a prompt was seen since the link was opened: there is a shell."""

    def encode(self, command: Command) -> bytes:
        """As `base.Codec.encode`."""
        is_at = _AT.match(command.text) is not None
        data = super().encode(command)
        self._is_at = is_at
        self._ends = next(
            (
                end
                for begin, end in _ENDS
                if command.text.startswith(begin) and command.text not in _SILENT
            ),
            None,
        )
        self._echoed = False
        self._tail = b""
        return data

    def receive(self, data: bytes) -> None:
        """Take bytes of the board; a prompt has no line end and is looked for in what is
        left over.
        """
        super().receive(data)
        if _PROMPT.fullmatch(self._plain(self._tail)):
            self.prompted = True
            self._on_prompt()

    def probe(self) -> bytes:
        """A Ctrl-C forgets a half line; then a question that changes nothing."""
        self._state = after(self._state, LinkEvent.PROBE)
        self._tail = b""
        self._probes += 1
        self._finals.clear()
        return INTERRUPT + self._end + self._ASKS.encode() + self._end

    def probed(self) -> Heard:
        """What came back for the probes; a prompt alone, or a refusal, is a shell that cannot do
        this.
        """
        if "OK" not in self._finals:
            return Heard.REFUSED if self._finals else Heard.NOTHING
        return (
            Heard.CLEAN
            if len(self._finals) == 1 == self._probes and not self._unsolicited
            else Heard.NOISY
        )

    def _wire(self, command: Command) -> bytes:
        text = command.text
        if _AT.match(text) is None:
            if _UNSENDABLE.search(text):
                raise ProfileError(
                    "profile.unsupported",
                    f"the command {head(command)!a} has a character that a shell line cannot carry",
                )
            return text.encode("ascii")
        if "'" in text or "\\" in text:
            raise ProfileError(
                "profile.unsupported",
                f"the command {head(command)!a} has a quotation mark or backslash that the AT shell"
                " cannot carry",
            )
        line = checked(command).replace(b"\r", b"").replace(b"\n", b"\\n")
        return b"at '" + line + b"'"

    def _take(self, line: str) -> None:
        bare = _LEADING_PROMPTS.sub("", line, count=1) if "$" in line else line
        self.prompted = self.prompted or bare != line
        text = bare.strip()
        if not text:
            return
        if self._state is LinkState.PROBING:
            self._probing(text)
        elif self._ends_command(text):
            return
        elif self._is_own_echo(text):
            self._echoed = True
            self._echoes = (
                self._echoes or text in self._echo
            )  # whole: a piece may be anything that the board says
        else:
            super()._take(text)

    def _probing(self, text: str) -> None:
        if self._ENDS_WELL.fullmatch(text):
            self._finals.append("OK")
        elif self._ENDS_BADLY.fullmatch(text):  # any other refusal is that of an earlier question
            self._finals.append("ERROR")
        elif text == self._ASKS:
            self._echoes = True
        elif text != "^C":
            super()._take(text)

    def _ends_command(self, text: str) -> bool:
        """Whether the line is the last of a command that says how it went in words; then its reply
        is made.
        """
        if self._state is not LinkState.AWAITING:
            return False
        if self._is_at:
            return self._end_with(text, ok=False) if _AT_FAILED.fullmatch(text) else False
        if self._ends is not None and self._ends.fullmatch(text):
            return self._end_with(text, ok=True)
        return (
            self._end_with(text, ok=False)
            if _FAILED.fullmatch(text) and self._is_of_this(text)
            else False
        )

    def _is_of_this(self, text: str) -> bool:
        """Whether a refusal that names a command names this one: that of an earlier command may
        come late, behind a reboot's prompt.
        """
        named = _NAMES_ITS_COMMAND.fullmatch(text)
        return (
            named is None
            or self._command is None
            or named[1].split()[-1] in self._command.text.split()
        )

    def _end_with(self, text: str, *, ok: bool) -> bool:
        if not ok:
            self._info = [text]
        elif self._is_info(text):
            self._info.append(text)
        self._state = after(self._state, LinkEvent.FINAL)
        self._replies.append(self._reply(ok=ok, cme=None))
        return True

    def _is_own_echo(self, text: str) -> bool:
        """Whether this is what was sent, or a piece of it: a shell wraps its echo, and repeats it
        after a log line.
        """
        if not self._echoed and text in self._echo:
            # the first whole repetition is the echo, even where a profile's pattern takes any line
            # for an answer
            return True
        return (
            any(text in sent for sent in self._echo)
            and not self._is_info(text)
            and text not in {"OK", "ERROR"}
        )

    def _on_prompt(self) -> None:
        if self._state is not LinkState.AWAITING or self._is_at:
            return
        if self._ends is None and (self._echoed or not self._echoes):
            self._state = after(self._state, LinkEvent.FINAL)
            self._replies.append(self._reply(ok=True, cme=None))
        elif self._ends is not None and self._echoed:
            self._end_with("(the shell came back without the line that was expected)", ok=False)

    def _plain(self, data: bytes) -> str:
        return NOISE.sub(b"", data).decode("ascii", "replace").lstrip() if len(data) < 200 else ""


class CredCodec(ShellCodec):
    """Host role of dialect `cred-shell`: the same lines, another question."""

    NAME = "cred-shell"
    _ASKS = "cred list 0"
    _ENDS_BADLY = re.compile(r"cred: command not found")
    _ENDS_WELL = re.compile(r"\d+ credentials? found\.")
