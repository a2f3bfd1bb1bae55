"""The layout of a long report: parts made of sentences, lists, tables and plots, as Markdown and for a terminal.

Knows nothing of what is reported; the other modules here put the simulation's results into these parts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from textwrap import fill
from typing import TypeAlias

from gridmerit.tables import WIDTH, fit_columns, table
from simulation.report.document import render_figure, render_page, render_table


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Columns under their heads; those not in `left` are aligned to the right."""

    heads: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]
    left: tuple[int, ...] = (0,)


@dataclass(frozen=True, slots=True)
class Bullets:
    """A list of sentences."""

    items: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A plot in the report's directory; Markdown shows it, a terminal does not."""

    alt: str
    file: str


Block: TypeAlias = str | Table | Bullets | Image


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A chapter of the report."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperReport:
    """The whole of it: what it is, and its parts in the order they are read."""

    title: str
    introduction: str
    parts: tuple[Part, ...]


def render_markdown(report: PaperReport, *, has_plots: bool) -> str:
    """The report as a Markdown file; without its images where they could not be drawn."""
    blocks = [f"# {report.title}", report.introduction]
    for part in report.parts:
        blocks.append(f"## {part.title}")
        blocks += [_to_markdown(block) for block in part.blocks if has_plots or not isinstance(block, Image)]
    return "\n\n".join(blocks) + "\n"


def render_html(report: PaperReport, images: Mapping[str, bytes]) -> str:
    """The report as one HTML page with its images inside, by file name; without those that are not there."""
    parts = [f"<h1>{escape(report.title)}</h1>", f"<p>{escape(report.introduction)}</p>"]
    for part in report.parts:
        parts.append(f"<h2>{escape(part.title)}</h2>")
        parts += [_to_html(block, images) for block in part.blocks]
    return render_page(report.title, parts)


def render_text(report: PaperReport) -> str:
    """The report for a terminal."""
    parts = [fill(report.introduction, fit_columns(WIDTH))]
    for part in report.parts:
        blocks = [_to_text(block) for block in part.blocks if not isinstance(block, Image)]
        parts.append("\n\n".join([part.title, *blocks]))
    return "\n\n\n".join(parts)


def _to_markdown(block: Block) -> str:
    match block:
        case Table(heads=heads, rows=rows, left=left):
            aligns = [":--" if column in left else "--:" for column in range(len(heads))]
            return "\n".join("| " + " | ".join(map(str, cells)) + " |" for cells in (heads, aligns, *rows))
        case Bullets(items=items):
            return "\n".join(f"- {item}" for item in items)
        case Image(alt=alt, file=file):
            return f"![{alt}]({file})"
    return block


def _to_html(block: Block, images: Mapping[str, bytes]) -> str:
    match block:
        case Table(heads=heads, rows=rows, left=left):
            return render_table(heads, [[str(cell) for cell in row] for row in rows], left=left)
        case Bullets(items=items):
            return f"<ul>{''.join(f'<li>{escape(item)}</li>' for item in items)}</ul>"
        case Image(alt=alt, file=file):
            return render_figure((file, alt, images[file])) if file in images else ""
    return f"<p>{escape(block)}</p>"


def _to_text(block: str | Table | Bullets) -> str:
    match block:
        case Table():
            return _draw_table(block)
        case Bullets(items=items):
            return "\n".join(_fill_below(item, "- ") for item in items)
    return fill(block, fit_columns(WIDTH))


def _draw_table(block: Table) -> str:
    """A table; where that is too wide, the sentences in its last column go below their rows."""
    drawn = table(block.heads, block.rows, left=block.left)
    if max(map(len, drawn.splitlines())) <= fit_columns(WIDTH):
        return drawn
    rows: Sequence[tuple[object, ...]] = [row[:-1] for row in block.rows]
    head, rule, *lines = table(block.heads[:-1], rows, left=block.left).splitlines()
    sentences = [_fill_below(str(row[-1]), "    ") for row in block.rows]
    below = [f"{line}\n{sentence}" for line, sentence in zip(lines, sentences, strict=True)]
    return "\n".join([head, rule, *below])


def _fill_below(text: str, indent: str) -> str:
    return fill(text, fit_columns(WIDTH), initial_indent=indent, subsequent_indent=" " * len(indent))
