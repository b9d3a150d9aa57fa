"""Makes the terminal pictures of the README from a real run: `python docs/make_pictures.py`.

The program runs in a pseudo-terminal; a terminal emulator (pyte, `pip install pyte`) follows what it writes, and
rich draws the screen as SVG. Nothing on the pictures is typed in by hand but the prompt and the command behind it.
The emulator is the one package that this script needs beside the development requirements.
"""

from __future__ import annotations

import argparse
import fcntl
import itertools
import os
import pty
import re
import shlex
import struct
import subprocess
import sys
import tempfile
import termios
from pathlib import Path

import pyte
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.style import Style
from rich.terminal_theme import TerminalTheme
from rich.text import Text

IMAGES = Path(__file__).parent / "images"
COLUMNS, ROWS = 102, 40
FAULTS = "3:install=CME527, 5:slow=120, 6:unplug@keygen, 7:mute, seed=11"
COMMAND = ["infuse", "provision", "--sim", "8", "--faults", FAULTS]
STATION = "line-2"
RUNNING = "provision-running.svg"
ENDED = "provision.svg"

# The colours of a plain dark terminal, dark enough behind white words.
THEME = TerminalTheme(
    (23, 26, 31), (214, 217, 222),
    [(23, 26, 31), (176, 42, 48), (24, 121, 58), (214, 163, 36), (46, 98, 184), (140, 60, 150), (30, 130, 140), (240, 242, 245)],
    [(110, 116, 125), (214, 73, 79), (61, 168, 96), (236, 190, 75), (88, 140, 220), (180, 100, 190), (70, 170, 180), (255, 255, 255)],
)


def main() -> int:
    """Run the program, take two pictures, write them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--columns", type=int, default=COLUMNS)
    parser.add_argument("--out", type=Path, default=IMAGES, help="folder of the pictures")
    asked = parser.parse_args()
    running, ended = run(asked.columns)
    asked.out.mkdir(parents=True, exist_ok=True)
    for name, lines in ((RUNNING, running), (ENDED, ended)):
        (asked.out / name).write_text(svg(lines, asked.columns), encoding="utf-8")
        sys.stdout.write(f"{asked.out / name}\n")
    return 0


def run(columns: int) -> tuple[list[Text], list[Text]]:
    """Run the command in a pseudo-terminal; the screen while most boards are done, and the one at the end."""
    screen = pyte.Screen(columns, ROWS)
    stream = pyte.ByteStream(screen)
    stream.feed(f"$ {shlex.join(COMMAND)}\r\n".encode())
    running: list[Text] = []
    with tempfile.TemporaryDirectory(prefix="infuse-picture-") as folder:
        home = Path(folder) / "home"
        home.mkdir(mode=0o700)
        (home / "bench.yaml").write_text(f"station: {STATION}\n", encoding="utf-8")
        process, terminal = start(home, columns)
        while data := read(terminal):
            stream.feed(data)
            if not running and mid_run(screen):
                running = lines_of(screen)
        process.wait()
        os.close(terminal)
    return running, lines_of(screen)


def start(home: Path, columns: int) -> tuple[subprocess.Popen[bytes], int]:
    """The real program with the pseudo-terminal as its only one."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("INFUSE_", "NO_COLOR", "COLUMNS", "LINES"))}
    env = {**kept, "TERM": "xterm-256color", "LANG": "C.UTF-8"}
    argv = [sys.executable, "-m", "infuse_cli", *COMMAND[1:], "--home", str(home)]
    process = subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=theirs, env=env, start_new_session=True)
    os.close(theirs)
    return process, ours


def read(terminal: int) -> bytes:
    """What the program wrote next; empty when it has ended."""
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux says so when the other side is closed
        return b""


def mid_run(screen: pyte.Screen) -> bool:
    """Whether some boards are green, one has failed and another is still at work."""
    text = "\n".join(screen.display)
    return all(word in text for word in (" PASS ", " FAIL ", " ERROR ", " working "))


def lines_of(screen: pyte.Screen) -> list[Text]:
    """The screen as styled lines, without the empty ones below."""
    lines = []
    for row in range(screen.lines):
        cells = [screen.buffer[row][column] for column in range(screen.columns)]
        line = Text(no_wrap=True)
        for style, same in itertools.groupby(cells, style_of):
            line.append("".join(cell.data for cell in same), style)
        line.rstrip()
        lines.append(line)
    while lines and not lines[-1].plain.strip():
        lines.pop()
    return lines


def style_of(cell: pyte.screens.Char) -> Style:
    """The emulator's attributes as a rich style."""
    return Style(color=colour(cell.fg), bgcolor=colour(cell.bg), bold=cell.bold, reverse=cell.reverse)


def colour(name: str) -> str | None:
    """The emulator's name of a colour as rich's: it calls yellow brown, as the first terminals did."""
    plain = name.replace("bright", "bright_").replace("brown", "yellow")
    return None if name == "default" else f"#{name}" if re.fullmatch("[0-9a-f]{6}", name) else plain


def svg(lines: list[Text], columns: int) -> str:
    """The lines as a terminal window, drawn with whatever monospace font the reader has: nothing is fetched."""
    console = Console(record=True, width=columns, file=open(os.devnull, "w", encoding="utf-8"), force_terminal=True)  # noqa: SIM115
    for line in lines:
        console.print(line, overflow="crop")
    form = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    form = form.replace("font-family: Fira Code, monospace", "font-family: 'DejaVu Sans Mono', Menlo, Consolas, monospace")
    form = form.replace("font-family: arial", "font-family: sans-serif").replace("<!-- Generated with Rich https://www.textualize.io -->", "")
    drawn = console.export_svg(title="infuse provision", theme=THEME, code_format=form, unique_id="infuse")
    return "\n".join(line.rstrip() for line in drawn.splitlines() if line.strip()) + "\n"


if __name__ == "__main__":
    sys.exit(main())
