"""Makes the terminal pictures of the README from a real run: `python docs/make_pictures.py`.

The program runs in a pseudo-terminal, a terminal emulator (pyte, `pip install pyte`) follows what
it writes, and the screen is drawn as SVG. Nothing on the pictures is typed in by hand but the
prompt and the command behind it. The emulator is the one package that this script needs beside the
program itself.
"""

from __future__ import annotations

import argparse
import fcntl
import html
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

IMAGES = Path(__file__).parent / "images"
COLUMNS, ROWS = 102, 40
FAULTS = "3:install=CME527, 5:slow=120, 6:unplug@keygen, 7:mute, seed=11"
COMMAND = ["infuse", "provision", "--sim", "8", "--faults", FAULTS]
STATION = "line-2"
Picture = list[list[pyte.screens.Char]]
RUNNING = "provision-running.svg"
ENDED = "provision.svg"

# A plain dark terminal; backgrounds are dark enough behind white words, the emulator's brown is
# yellow.
PAPER, INK, TITLE = "#171a1f", "#d6d9de", "#9aa2ad"
COLOURS = {
    "black": "#171a1f",
    "red": "#b02a30",
    "green": "#18793a",
    "brown": "#d6a324",
    "blue": "#2e62b8",
    "magenta": "#8c3c96",
    "cyan": "#1e828c",
    "white": "#f5f7fa",
    "default": INK,
}
CELL_W, CELL_H, FONT, MARGIN, BAR = 8.4, 18, 14, 14, 30


def main() -> int:
    """Run the program, take two pictures, write them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--columns", type=int, default=COLUMNS)
    parser.add_argument("--out", type=Path, default=IMAGES, help="folder of the pictures")
    asked = parser.parse_args()
    running, ended = run(asked.columns)
    asked.out.mkdir(parents=True, exist_ok=True)
    for name, rows in ((RUNNING, running), (ENDED, ended)):
        (asked.out / name).write_text(svg(rows, asked.columns), encoding="utf-8")
        sys.stdout.write(f"{asked.out / name}\n")
    return 0


def run(columns: int) -> tuple[Picture, Picture]:
    """Run the command in a pseudo-terminal; the screen while most boards are done, and the one at
    the end.
    """
    screen = pyte.Screen(columns, ROWS)
    stream = pyte.ByteStream(screen)
    stream.feed(f"$ {shlex.join(COMMAND)}\r\n".encode())
    running: Picture = []
    with tempfile.TemporaryDirectory(prefix="infuse-picture-") as folder:
        home = Path(folder) / "home"
        home.mkdir(mode=0o700)
        (home / "bench.yaml").write_text(f"station: {STATION}\n", encoding="utf-8")
        process, terminal = start(home, columns)
        while data := read(terminal):
            stream.feed(data)
            if not running and mid_run(screen):
                running = rows_of(screen)
        process.wait()
        os.close(terminal)
    return running, rows_of(screen)


def start(home: Path, columns: int) -> tuple[subprocess.Popen[bytes], int]:
    """The real program with the pseudo-terminal as its only one."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("INFUSE_", "NO_COLOR", "COLUMNS", "LINES"))
    }
    env = {**kept, "TERM": "xterm-256color", "LANG": "C.UTF-8"}
    argv = [sys.executable, "-m", "infuse_cli", *COMMAND[1:], "--home", str(home)]
    process = subprocess.Popen(
        argv, stdin=theirs, stdout=theirs, stderr=theirs, env=env, start_new_session=True
    )
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
    states = {line.split()[-1] for line in screen.display if re.match(r" +\d+ ", line)}
    return {"PASS", "FAIL", "ERROR", "working"} <= states


def rows_of(screen: pyte.Screen) -> Picture:
    """The cells of the screen, without the empty rows below."""
    rows = [
        [screen.buffer[row][column] for column in range(screen.columns)]
        for row in range(screen.lines)
    ]
    while rows and not "".join(cell.data for cell in rows[-1]).strip():
        rows.pop()
    return rows


def svg(rows: Picture, columns: int) -> str:
    """The cells as a terminal window, in whatever monospace font the reader has: nothing is
    fetched.
    """
    width, height = columns * CELL_W + 2 * MARGIN, len(rows) * CELL_H + BAR + MARGIN
    lights = "".join(
        f'<circle cx="{MARGIN + 6 + 20 * at}" cy="16" r="5" fill="{fill}"/>'
        for at, fill in enumerate(("#e0605a", "#e0b045", "#57b35f"))
    )
    drawn = [part for number, row in enumerate(rows) for part in draw(row, BAR + number * CELL_H)]
    return "\n".join(
        [
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}"'
                ' role="img">'
            ),
            "<title>infuse provision on a terminal</title>",
            (
                f"<style>text {{ font: {FONT}px 'DejaVu Sans Mono', Menlo, Consolas, monospace;"
                " white-space: pre; } .b { font-weight: bold; }</style>"
            ),
            f'<rect width="{width:.0f}" height="{height:.0f}" rx="8" fill="{PAPER}"/>',
            lights,
            (
                f'<text x="{width / 2:.0f}" y="21" text-anchor="middle" fill="{TITLE}">infuse'
                " provision</text>"
            ),
            *drawn,
            "</svg>",
            "",
        ]
    )


def draw(row: list[pyte.screens.Char], top: float) -> list[str]:
    """One row: backgrounds, the cells of bars as boxes, and each word at its own column, so that
    columns always line up.
    """
    parts: list[str] = []
    for look, same in itertools.groupby(enumerate(row), lambda one: (colours(one[1]), one[1].bold)):
        cells = list(same)
        (ink, paper), bold = look
        start, text = cells[0][0], "".join(cell.data for _, cell in cells)
        if paper is not None:
            parts.append(box(start, len(text), top, paper))
        for found in re.finditer(r"█+|░+|[^█░ ]+(?: [^█░ ]+)*", text):
            at, word = start + found.start(), found[0]
            if word[0] in "█░":
                parts.append(
                    box(
                        at,
                        len(word),
                        top + 3,
                        ink,
                        height=CELL_H - 6,
                        opacity=1 if word[0] == "█" else 0.28,
                    )
                )
            else:
                weight = ' class="b"' if bold else ""
                parts.append(
                    f'<text x="{x(at)}" y="{top + 13.5}" textLength="{len(word) * CELL_W:.1f}"'
                    f' fill="{ink}"{weight}>{html.escape(word)}</text>'
                )
    return parts


def colours(cell: pyte.screens.Char) -> tuple[str, str | None]:
    """Ink and paper of a cell; None is the terminal's own paper."""
    ink = COLOURS.get(cell.fg.removeprefix("bright"), INK)
    paper = None if cell.bg == "default" else COLOURS.get(cell.bg.removeprefix("bright"), PAPER)
    return (paper or PAPER, ink) if cell.reverse else (ink, paper)


def box(
    column: int, cells: int, top: float, fill: str, *, height: float = CELL_H, opacity: float = 1
) -> str:
    """A filled rectangle over some cells."""
    faded = f' fill-opacity="{opacity}"' if opacity < 1 else ""
    return (
        f'<rect x="{x(column)}" y="{top}" width="{cells * CELL_W:.1f}" height="{height}"'
        f' fill="{fill}"{faded}/>'
    )


def x(column: int) -> str:
    """Where a column begins."""
    return f"{MARGIN + column * CELL_W:.1f}"


if __name__ == "__main__":
    sys.exit(main())
