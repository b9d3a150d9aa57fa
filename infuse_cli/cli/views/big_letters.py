"""Letters that are read from across the room: five rows high, made of blocks."""

from __future__ import annotations

from typing import Final

HEIGHT: Final = 5

# Five rows of each letter, a bit a column, the leftmost one highest; the first number is the width.
_LETTERS: Final = {
    "A": (4, 0b0110, 0b1001, 0b1111, 0b1001, 0b1001),
    "B": (4, 0b1110, 0b1001, 0b1110, 0b1001, 0b1110),
    "C": (4, 0b0111, 0b1000, 0b1000, 0b1000, 0b0111),
    "D": (4, 0b1110, 0b1001, 0b1001, 0b1001, 0b1110),
    "E": (4, 0b1111, 0b1000, 0b1110, 0b1000, 0b1111),
    "G": (4, 0b0111, 0b1000, 0b1011, 0b1001, 0b0111),
    "I": (1, 1, 1, 1, 1, 1),
    "L": (4, 0b1000, 0b1000, 0b1000, 0b1000, 0b1111),
    "M": (5, 0b10001, 0b11011, 0b10101, 0b10001, 0b10001),
    "N": (5, 0b10001, 0b11001, 0b10101, 0b10011, 0b10001),
    "O": (4, 0b0110, 0b1001, 0b1001, 0b1001, 0b0110),
    "R": (4, 0b1110, 0b1001, 0b1110, 0b1010, 0b1001),
    "V": (5, 0b10001, 0b10001, 0b01010, 0b01010, 0b00100),
    " ": (2, 0, 0, 0, 0, 0),
    "0": (3, 0b111, 0b101, 0b101, 0b101, 0b111),
    "1": (3, 0b010, 0b110, 0b010, 0b010, 0b111),
    "2": (3, 0b111, 0b001, 0b111, 0b100, 0b111),
    "3": (3, 0b111, 0b001, 0b111, 0b001, 0b111),
    "4": (3, 0b101, 0b101, 0b111, 0b001, 0b001),
    "5": (3, 0b111, 0b100, 0b111, 0b001, 0b111),
    "6": (3, 0b111, 0b100, 0b111, 0b101, 0b111),
    "7": (3, 0b111, 0b001, 0b010, 0b010, 0b010),
    "8": (3, 0b111, 0b101, 0b111, 0b101, 0b111),
    "9": (3, 0b111, 0b101, 0b111, 0b001, 0b111),
}


def big(text: str, width: int, *, block: str = "█") -> list[str]:
    """The rows of a text in big letters, twice as wide where there is room; none where it does not
    fit into `width` columns.
    """
    if not text or any(letter not in _LETTERS for letter in text):
        return []
    rows = [" ".join(_row(letter, number) for letter in text) for number in range(1, HEIGHT + 1)]
    wide = ["".join(char * 2 for char in row) for row in rows]
    chosen = wide if len(wide[0]) <= width else rows
    return [] if len(chosen[0]) > width else [row.replace("#", block) for row in chosen]


def _row(letter: str, number: int) -> str:
    width, *rows = _LETTERS[letter]
    return format(rows[number - 1], f"0{width}b").replace("0", " ").replace("1", "#")
