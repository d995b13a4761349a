"""Numbers and texts as files carry them."""

from __future__ import annotations


def number(x: float) -> str:
    """A number as the files carry it: 9 significant digits."""
    return f"{x:.9g}"


def inert(text: str) -> str:
    """Text that no spreadsheet runs: a leading = + - @ or control character is quoted."""
    return "'" + text if text[:1] in {"=", "+", "-", "@", "\t", "\r"} else text
