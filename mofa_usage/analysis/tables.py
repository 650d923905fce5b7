"""An answer as a table that people read: in a notebook, and in a terminal.

Numbers are written alike and never cut; names are, in their middle. A table shows a screen of rows and says how many
there are beside; of a course of time it shows both ends. One row about everything is a list of figures instead. Colours
are inherited, so that it suits light and dark notebooks, and everything that came from somewhere is escaped.
"""

import shutil
from collections.abc import Iterator, Sequence
from html import escape
from itertools import accumulate, zip_longest

import polars as pl

from mofa_usage import wording
from mofa_usage.analysis.written import Written, written
from mofa_usage.measures import Roles

__all__ = ["html_table", "text_table"]

_ROWS = 25
_TEXT_ROWS = 12
_NAME = 40
_TEXT_NAME = 24
_GAP = "  "

_LINE = "color-mix(in srgb,currentColor 25%,transparent)"
_BOX = "max-width:100%;overflow-x:auto;font-size:.95em;line-height:1.45"
_TABLE = "border-collapse:collapse;font-variant-numeric:tabular-nums;margin:.3em 0"
# Notebooks have styles of their own for the cells of tables; what stands here wins.
_CELL = "padding:.15em .8em .15em 0;background:none;white-space:nowrap"
_HEAD = f"vertical-align:bottom;white-space:normal;border-bottom:1px solid {_LINE}"

Whole = tuple[pl.DataFrame, Roles] | None


def html_table(frame: pl.DataFrame, roles: Roles, whole: Whole = None, sentence: str = "") -> str:
    """An answer with those roles as HTML: its rows, that of the whole, and the sentence that sums them up."""
    said = f'<div style="max-width:60em">{escape(sentence)}</div>' if sentence else ""
    if frame.height == 1 and not roles.dimensions:
        body = _figures(written(frame, roles))
    else:
        first, last = _ends(frame, roles, _ROWS)
        shown = pl.concat([frame.head(first), frame.tail(last)])
        body = _rows(written(shown, roles, whole), first, frame.height - shown.height, is_total=whole is not None)
    return f'<div style="{_BOX}"><table style="{_TABLE}">{body}</table>{said}</div>'


def _ends(frame: pl.DataFrame, roles: Roles, rows: int) -> tuple[int, int]:
    """How many rows to show of the beginning and of the end."""
    if frame.height <= rows:
        return frame.height, 0
    is_course = any(entry.kind == "time" for entry in roles.dimensions.values())
    return (rows // 2, rows - rows // 2) if is_course else (rows, 0)


def _figures(columns: Sequence[Written]) -> str:
    """One row as a list: what it is, and how much."""
    return "".join(
        f'<tr style="background:none"><th scope="row" style="{_CELL};text-align:left;font-weight:normal;opacity:.7">'
        f'{escape(column.heading)}</th><td style="{_CELL};text-align:left">{escape(figure)}</td></tr>'
        for column, figure in _told(columns)
    )


def _told(columns: Sequence[Written]) -> Iterator[tuple[Written, str]]:
    """The columns of one row with their values, an interval behind the value that it is of."""
    for column, following in zip_longest(columns, columns[1:]):
        figure = f"{column.texts[0]} {column.unit}".rstrip()
        if following is not None and following.is_interval and following.texts[0] != wording.count(None):
            figure += f" ({following.texts[0]}{f' {following.unit}'.rstrip()})"
        if not column.is_interval:
            yield column, figure


def _rows(columns: Sequence[Written], first: int, more: int, *, is_total: bool) -> str:
    head = "".join(
        f'<th style="{_CELL};{_align(column)};{_HEAD}">'
        f"{escape(f'{column.heading} ({column.unit})' if column.unit else column.heading)}</th>"
        for column in columns
    )
    cells = [list(_cells(column)) for column in columns]
    rows = ["".join(row) for row in zip(*cells, strict=True)]
    total = f'<tfoot><tr style="background:none;font-weight:bold">{rows.pop()}</tr></tfoot>' if is_total else ""
    body = [f'<tr style="background:none">{row}</tr>' for row in rows]
    if more:
        note = f'<td colspan="{len(columns)}" style="{_CELL};text-align:left;opacity:.7">and {more:,} more rows</td>'
        body.insert(first, f'<tr style="background:none">{note}</tr>')
    return f"<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody>{total}"


def _cells(column: Written) -> Iterator[str]:
    names = [text for text, aside in zip(column.texts, column.aside, strict=True) if not aside]
    labels = wording.shortened(names, _NAME) if column.is_name else {}
    for text, aside in zip(column.texts, column.aside, strict=True):
        label = text if aside else labels.get(text, text)
        whole = f' title="{escape(wording.visible(text))}"' if label != text else ""
        inner = f"<em>{escape(label)}</em>" if aside else escape(label)
        yield f'<td style="{_CELL};{_align(column)}"{whole}>{inner}</td>'


def _align(column: Written) -> str:
    return f"text-align:{'right' if column.is_number else 'left'}"


def text_table(frame: pl.DataFrame, roles: Roles, whole: Whole = None) -> str:
    """An answer with those roles for a terminal, under the names that code needs.

    As many columns as have room, but always the dimensions and the first measure; the others are named below.
    """
    first, last = _ends(frame, roles, _TEXT_ROWS)
    shown = pl.concat([frame.head(first), frame.tail(last)])
    columns = written(shown, roles, whole)
    if frame.height == 1 and not roles.dimensions:
        told = list(_told(columns))
        widest = max(len(column.name) for column, _ in told)
        return "\n".join(f"{column.name:{widest}}{_GAP}{wording.visible(figure)}" for column, figure in told)
    texts = [_lined_up(column) for column in columns]
    room = shutil.get_terminal_size((100, 24)).columns
    widths = accumulate(len(column[0]) + len(_GAP) for column in texts)
    fitting = max(len(roles.dimensions) + 1, sum(width <= room + len(_GAP) for width in widths))
    lines = [_GAP.join(row).rstrip() for row in zip(*texts[:fitting], strict=True)]
    if shown.height < frame.height:
        lines.insert(first + 1, f"... {frame.height - shown.height:,} more rows ...")
    beside = ", ".join(wording.visible(column.name) for column in columns[fitting:])
    return "\n".join([f"shape: {frame.shape}", *lines, *([f"and {beside}"] if beside else [])])


def _lined_up(column: Written) -> list[str]:
    """Head and cells of a column in one width."""
    labels = wording.shortened(column.texts, _TEXT_NAME) if column.is_name else {}
    name = "_low to _high" if column.is_interval else column.name
    head = f"{name} ({column.unit})" if column.unit else name
    cells = [wording.visible(text) for text in (head, *(labels.get(text, text) for text in column.texts))]
    width = max(map(len, cells))
    return [cell.rjust(width) if column.is_number else cell.ljust(width) for cell in cells]
