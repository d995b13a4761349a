"""Numbers and texts as files carry them."""

from __future__ import annotations


def number(x: float) -> str:
    """A number as the files carry it: 9 significant digits."""
    return f"{x:.9g}"


def inert(text: str) -> str:
    """Text that no spreadsheet runs: a leading = + - @ or control character is quoted."""
    return "'" + text if text[:1] in {"=", "+", "-", "@", "\t", "\r"} else text


def counted(number: float, noun: str, several: str = "") -> str:
    """A number of things: ``1 die``, ``2 dies``, ``1,024 requests``; ``several`` where it takes no s."""
    return f"{number:,.0f} {noun if number == 1 else several or noun + 's'}"
