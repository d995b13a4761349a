"""A small document: headings, paragraphs, lists, tables; written as Markdown and as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from importlib import resources

STYLE = (resources.files("dse.report") / "document.css").read_text(encoding="utf-8")


@dataclass
class Document:
    """Blocks in order; text is plain, each writer escapes for itself."""

    title: str
    blocks: list[tuple[str, object]] = field(default_factory=list)

    def heading(self, text: str, level: int = 2) -> None:
        """Add a heading."""
        self.blocks.append((f"h{level}", text))

    def text(self, text: str) -> None:
        """Add a paragraph."""
        self.blocks.append(("p", text))

    def code(self, text: str) -> None:
        """Add a command."""
        self.blocks.append(("code", text))

    def items(self, lines: Sequence[str]) -> None:
        """Add a list."""
        self.blocks.append(("ul", list(lines)))

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Add a table."""
        self.blocks.append(("table", (list(header), [list(r) for r in rows])))

    def picture(self, name: str, caption: str, svg: str) -> None:
        """Add a picture that is kept beside the document as ``name``."""
        self.blocks.append(("svg", (name, caption, svg)))

    @property
    def pictures(self) -> dict[str, str]:
        """SVG of every picture by its name."""
        return {body[0]: body[2] for kind, body in self.blocks if kind == "svg" and isinstance(body, tuple)}

    def markdown(self) -> str:
        """The document as Markdown; names cannot break out of a cell or start HTML."""
        out = [f"# {_md(self.title)}", ""]
        for kind, body in self.blocks:
            if kind.startswith("h"):
                out += [f"{'#' * int(kind[1])} {_md(str(body))}", ""]
            elif kind == "p":
                out += [_md(str(body)), ""]
            elif kind == "code":
                out += ["```sh", str(body).replace("```", "` ` `"), "```", ""]
            elif kind == "ul" and isinstance(body, list):
                out += [f"- {_md(str(x))}" for x in body] + [""]
            elif kind == "svg" and isinstance(body, tuple):
                out += [f"![{_md(body[1])}]({body[0]})", ""]
            elif kind == "table" and isinstance(body, tuple):
                header, rows = body
                out += [_row(header), _row(["---"] * len(header)), *(_row(r) for r in rows), ""]
        return "\n".join(out).rstrip() + "\n"

    def html(self) -> str:
        """The document as one self-contained HTML file."""
        out = []
        for kind, body in self.blocks:
            if kind.startswith("h"):
                out.append(f"<{kind}>{escape(str(body))}</{kind}>")
            elif kind == "p":
                out.append(f"<p>{escape(str(body))}</p>")
            elif kind == "code":
                out.append(f"<pre>{escape(str(body))}</pre>")
            elif kind == "ul" and isinstance(body, list):
                out.append("<ul>" + "".join(f"<li>{escape(str(x))}</li>" for x in body) + "</ul>")
            elif kind == "svg" and isinstance(body, tuple):
                out.append(
                    '<figure role="img" '
                    f'aria-label="{escape(body[1])}">{body[2][body[2].index("<svg") :]}</figure>'
                )
            elif kind == "table" and isinstance(body, tuple):
                header, rows = body
                head = "".join(f"<th>{escape(h)}</th>" for h in header)
                cells = ["".join(f"<td{_numeric(c)}>{escape(c)}</td>" for c in r) for r in rows]
                out.append(
                    f'<div class="wide"><table><tr>{head}</tr>'
                    + "".join(f"<tr>{c}</tr>" for c in cells)
                    + "</table></div>"
                )
        return (
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(self.title)}</title>'
            f"<style>{STYLE}</style></head><body><h1>{escape(self.title)}</h1>{''.join(out)}</body></html>\n"
        )


def _md(text: str) -> str:
    return text.replace("\\", "\\\\").replace("<", "&lt;").replace("|", "\\|").replace("\n", " ")


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_md(c) if c != "---" else c for c in cells) + " |"


def _numeric(cell: str) -> str:
    return ' class="n"' if (cell[:1].isdigit() and ", " not in cell) or cell[:2] in {"-0", "+0"} else ""
