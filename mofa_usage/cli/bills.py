"""The command `reconcile`: the providers' reports of usage and costs against what was recorded."""

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from mofa_usage.cli.options import Printed, Url, database_url
from mofa_usage.cli.output import complain, console, print_answer

if TYPE_CHECKING:
    from mofa_usage.audit.bills import Reconciliation

__all__ = ["reconcile"]

_BESIDE = timedelta(days=1)
"""Calls of so long before and after the bill are looked at, too: its days may be those of another zone."""

Bill = Annotated[
    list[str],
    typer.Argument(
        metavar="BILL...",
        help="A folder, or files: saved pages (.json, .jsonl) of the providers' admin APIs, CSV exports of consoles.",
    ),
]


def reconcile(bill: Bill, printed: Printed, url: Url = None) -> None:
    """Compare the providers' own reports of usage and costs with the recorded calls.

    Tokens must agree exactly and money within rounding, for each day (of UTC) and model that the reports tell of. What
    does not agree is named: a day or a model that is missing, pages that are cut or doubled, requests that nobody
    recorded, a wrong tier, cents for dollars, and so on.

    [bold]mofa-usage reconcile bills/2026-05 --url sqlite:usage.db[/bold]

    Exit code 1: there are findings. JSON and CSV are the findings.
    """
    from mofa_usage.audit.bills import COLUMNS, covered
    from mofa_usage.urls import backend_of
    from mofa_usage.usage import load_usage

    source = database_url(url)
    start, end = covered(bill)
    # A file reads what is asked for by itself, and need not have all columns.
    wanted = COLUMNS if backend_of(source) is not None else None
    usage = load_usage(source, start=start - _BESIDE, end=end + _BESIDE, columns=wanted)
    found = usage.reconcile(bill)
    if printed.for_programs:
        print_answer(found.findings, printed)
    else:
        _show(found)
    if not found.is_clean:
        raise typer.Exit(1)


def _show(found: "Reconciliation") -> None:
    """Both sides in a sentence, then every finding and what to know of the rest."""
    from rich.text import Text

    from mofa_usage.wording import visible

    shown = console()
    shown.print(Text(visible(f"{found.findings.sentence} {found.by_day.sentence}"), style="bold"), soft_wrap=True)
    for kind, sentence in found.findings.select("kind", "sentence").rows():
        shown.print()
        shown.print(Text.assemble((visible(kind), "bold"), f": {visible(sentence)}."), soft_wrap=True)
    for note in found.notes:
        complain(f"note: {note}")
