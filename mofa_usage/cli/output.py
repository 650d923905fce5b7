"""How commands print and ask: for people in a terminal, and as JSON or CSV for programs.

Tables for programs have the names of measures, dimensions and fields as columns, and money has all its digits. What
came from somewhere cannot give a terminal orders: JSON escapes it, and CSV is escaped where a terminal shows it.
"""

import csv
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import typer

from mofa_usage.cli.options import Printed
from mofa_usage.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from mofa_usage.analysis import Breakdown

__all__ = ["agree", "announce", "complain", "console", "may_write", "print_answer", "print_record", "print_rows"]

_PIPED_WIDTH = 160  # columns of a table when nobody's terminal says how wide it is


def console() -> "Console":
    """Where results are shown: standard output, wide when it is no terminal; what it has no letter for becomes `?`."""
    from rich.console import Console

    if isinstance(sys.stdout, TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="replace")
    shown = Console(highlight=False)
    return shown if shown.is_terminal or "COLUMNS" in os.environ else Console(highlight=False, width=_PIPED_WIDTH)


def announce(name: object, rest: str) -> None:
    """Print one line about a thing whose name stands first; names of files are text, not markup."""
    from rich.text import Text

    from mofa_usage.wording import visible

    console().print(Text.assemble((visible(str(name)), "bold"), rest), soft_wrap=True)


def complain(sentence: str) -> None:
    """Say on standard error what is wrong."""
    from mofa_usage.wording import visible

    typer.echo(f"mofa-usage: {visible(' '.join(sentence.split()))}", err=True)


def print_answer(answer: "Breakdown", printed: Printed) -> None:
    """Print an answer for programs."""
    from mofa_usage.analysis.rows import as_csv, as_json
    from mofa_usage.wording import visible

    text = as_json(answer) if printed.as_json else as_csv(answer)
    if sys.stdout.isatty():
        text = "".join(f"{visible(line)}\n" for line in text.split("\n")[:-1])
    typer.echo(text, nl=False)


def print_rows(
    columns: Sequence[str], rows: Iterable[Mapping[str, Any]], printed: Printed, *, lines: bool = False
) -> None:
    """Print a table for programs: an array of objects (or the objects in `lines`), or CSV with a head."""
    table = [{name: _plain(row[name]) for name in columns} for row in rows]
    if printed.as_json and lines:
        for row in table:
            typer.echo(json.dumps(row))
    elif printed.as_json:
        objects = ",\n".join(map(json.dumps, table))
        typer.echo(f"[\n{objects}\n]" if table else "[]")
    else:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(_cells(columns))
        writer.writerows(_cells(row.values()) for row in table)


def print_record(record: Mapping[str, Any], printed: Printed) -> None:
    """Print one thing for programs: an object, or a line with a head, which leaves out what is a list."""
    if printed.as_json:
        typer.echo(json.dumps({name: _plain(value) for name, value in record.items()}))
        return
    flat = {name: value for name, value in record.items() if not isinstance(value, list | tuple | dict)}
    print_rows(list(flat), [flat], printed)


def _plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, UUID | Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def _cells(values: Iterable[Any]) -> list[Any]:
    from mofa_usage.wording import visible

    texts = [json.dumps(value) if isinstance(value, bool) else value for value in values]
    if sys.stdout.isatty():
        return [visible(text) if isinstance(text, str) else text for text in texts]
    return texts


def agree(what: str, flag: str, *, agreed: bool, question: str = "Go on?") -> None:
    """Ask a person whether to go on, unless they have agreed before.

    Raises:
        UsageError: nobody is there to be asked.
        Exit: they do not want it.
    """
    if agreed:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(f"{what}; {flag}")
    from mofa_usage.wording import visible

    if not typer.confirm(f"{visible(what)}. {question}", err=True):
        complain("nothing was done")
        raise typer.Exit(1)


def may_write(path: Path, *, overwrite: bool, elsewhere: str = "") -> None:
    """Ask whether what is at a path may be replaced, if there is anything.

    Raises:
        UsageError: nobody is there to be asked.
        Exit: they do not want it.
    """
    if path.exists():
        said = f"--overwrite replaces it{elsewhere}"
        agree(f"{path} is there already", said, agreed=overwrite, question="Replace it?")
