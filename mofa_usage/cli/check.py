"""The commands that ask whether all is well: `check`, `completeness` and `service`."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from mofa_usage.cli.choosing import end_without_calls, load
from mofa_usage.cli.options import By, Calls, Printed, database_url
from mofa_usage.cli.output import announce, console, print_answer
from mofa_usage.errors import UsageError

if TYPE_CHECKING:
    from mofa_usage.audit import Budget, Limit

__all__ = ["check", "completeness", "service"]

_LIMITS = "Limits"
_GIVES_WAY = ("late_calls", "slow_calls", "failed_calls", "good_calls", "budget_left", "judged_share", "unknown_calls")
_UNITS = {"ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000}
_MARKS = {True: "ok", False: "EXCEEDED", None: "UNKNOWN"}


def _limit(name: str, metavar: str, said: str) -> Any:
    return typer.Option(f"--{name}", metavar=metavar, help=said, rich_help_panel=_LIMITS)


def _milliseconds(option: str, text: str) -> float:
    """How many `2s`, `500ms`, `1.5 min` are.

    Raises:
        UsageError: it is no duration; the message names the option.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|min|h)", text.strip().lower())
    if found is None:
        raise UsageError(f"{option} = {text!r} is no duration; give 500ms, 2s, 1.5min")
    return float(Decimal(found[1]) * _UNITS[found[2]])


def _share(option: str, text: str) -> Decimal:
    """What part `5%` or `0.05` is.

    Raises:
        UsageError: it is no share; the message names the option.
    """
    try:
        share = Decimal(text.strip().removesuffix("%")) / (100 if text.strip().endswith("%") else 1)
    except InvalidOperation:
        share = Decimal(-1)
    if not 0 <= share <= 1:
        raise UsageError(f"{option} = {text!r} is no share; give 5% or 0.05")
    return share


def _money(option: str, text: str) -> tuple[Decimal, str]:
    """The amount and the currency of `0.05`, `$0.05`, `0.05 EUR`.

    Raises:
        UsageError: it is no amount; the message names the option.
    """
    found = re.fullmatch(r"\$?(\d*\.?\d+)\s*([A-Za-z]{3})?", text.strip())
    if found is None:
        raise UsageError(f"{option} = {text!r} is no amount; give 0.05 or '0.05 EUR'")
    return Decimal(found[1]), (found[2] or "USD").upper()


def check(
    calls: Calls,
    printed: Printed,
    budget: Annotated[
        list[str] | None, _limit("budget", "AMOUNT/PERIOD", "500/month, 20/day, '500 EUR/month', .../week. Repeat.")
    ] = None,
    error_rate: Annotated[str | None, _limit("error-rate", "SHARE", "Unsuccessful calls at most: 5%.")] = None,
    p50: Annotated[str | None, _limit("p50", "DURATION", "Median of the latency at most: 2s.")] = None,
    p95: Annotated[str | None, _limit("p95", "DURATION", "95% of the calls take at most: 10s.")] = None,
    p99: Annotated[str | None, _limit("p99", "DURATION", "99% of the calls take at most: 30s.")] = None,
    ttft_p95: Annotated[
        str | None, _limit("ttft-p95", "DURATION", "95% of the calls have their first token after at most: 2s.")
    ] = None,
    cost_per_call: Annotated[
        str | None, _limit("cost-per-call", "AMOUNT", "Mean cost of a priced call at most: 0.05, '0.05 EUR'.")
    ] = None,
    max_unpriced: Annotated[str | None, _limit("max-unpriced", "SHARE", "Calls without a price at most: 10%.")] = None,
) -> None:
    """Check limits, for cron and CI: exit code 0 if all are kept, 1 if one is passed or nothing can be said of it.

    Budgets are of the present calendar month (day, week, year) on the clock of --tz, or of the one in which --end lies;
    all other limits are of the calls from --start to --end. What cannot be said, because no call has the value, is not
    kept. JSON has "ok": true, false, or null where nothing can be said.

    [bold]mofa-usage check --budget 500/month --error-rate 5% --p95 10s --url sqlite:usage.db[/bold]

    [bold]mofa-usage check --budget "20 EUR/day" --start 1d --tz Europe/Berlin --label environment=prod --json[/bold]
    """
    limits = _asked(
        budget,
        {"error_rate": error_rate, "unpriced": max_unpriced},
        {"latency_p50": p50, "latency_p95": p95, "latency_p99": p99, "ttft_p95": ttft_p95},
        cost_per_call,
    )
    if not limits:
        raise UsageError("which limits? Give --budget 500/month, --error-rate 5%, --p95 10s, ...")
    from mofa_usage.audit import Budget, begin
    from mofa_usage.audit import check as checked

    now = datetime.now(UTC)
    budgets = [limit for limit in limits if isinstance(limit, Budget)]

    def seen_from(start: datetime | None, clock: ZoneInfo) -> datetime | None:
        begins = [begin(one.per, _end(calls, now, clock), clock) for one in budgets]
        return None if start is None else min([start, *begins])

    usage, which = load(calls, None, seen_from)
    native = usage.relation
    answer = checked(native, limits, start=which.start, end=which.end, now=now, tz=calls.tz)
    if printed.for_programs:
        print_answer(answer, printed)
    else:
        for row in answer.to_dicts():
            console().print(f"{_MARKS[row['ok']]:<10}{row['sentence']}", markup=False, soft_wrap=True)
    if not all(answer["ok"].fill_null(value=False)):
        raise typer.Exit(1)


def _end(calls: Calls, now: datetime, clock: ZoneInfo) -> datetime:
    from mofa_usage.cli.periods import period

    _, end = period(calls.start, calls.end, clock)
    return now if end is None else min(now, end)


def _asked(
    budgets: Sequence[str] | None, shares: dict[str, str | None], durations: dict[str, str | None], per_call: str | None
) -> "list[Budget | Limit]":
    """The limits that the options say."""
    from mofa_usage.audit import Limit
    from mofa_usage.audit import budget as budget_of

    options = {"unpriced": "--max-unpriced", "ttft_p95": "--ttft-p95", "error_rate": "--error-rate"}
    limits: list[Budget | Limit] = [budget_of(text) for text in budgets or ()]
    for name, text in shares.items():
        if text is not None:
            limits.append(Limit(name, _share(options[name], text)))
    for name, text in durations.items():
        if text is not None:
            option = options.get(name, f"--{name.removeprefix('latency_')}")
            limits.append(Limit(name, _milliseconds(option, text)))
    if per_call is not None:
        amount, currency = _money("--cost-per-call", per_call)
        limits.append(Limit("cost_per_call", amount, currency=currency))
    return limits


def completeness(
    calls: Calls,
    printed: Printed,
    outbox: Annotated[
        Path | None,
        typer.Option("--outbox", metavar="FOLDER", help="Look into this outbox; that of the database unless given."),
    ] = None,
) -> None:
    """Ask whether it is all here: prices, tokens, gaps, duplicates, contradictions, and what waits in the outbox.

    Prints each finding as a sentence, the gravest first; JSON and CSV have a row for each. Exit code 0 without errors
    among them, 1 with one, or without any call.

    [bold]mofa-usage completeness --url sqlite:usage.db --tz Europe/Berlin[/bold]

    [bold]mofa-usage completeness --start 30d --json[/bold]
    """
    usage, which = load(calls)
    answer = usage.completeness(waiting=_waiting(database_url(calls.url), outbox))
    if printed.for_programs:
        print_answer(answer.findings, printed)
    else:
        from mofa_usage.cli.tables import breakdown_table

        shown = console()
        for severity, sentence in answer.findings.select("severity", "sentence").iter_rows():
            announce(f"{severity:<8}", f" {_visible(sentence)}")
        announce(_visible(answer.sentence if not answer.findings.height else _rest(answer.sentence)), "")
        shown.print()
        shown.print(breakdown_table(answer.coverage, width=shown.width), soft_wrap=False)
    if not len(usage):
        end_without_calls(calls, which)
    if "error" in answer.findings["severity"]:
        raise typer.Exit(1)


def _visible(text: str) -> str:
    from mofa_usage.wording import visible

    return visible(text)


def _rest(sentence: str) -> str:
    """Of what is said of all what is not said by the findings themselves."""
    return sentence[sentence.index("The last call") :] if "The last call" in sentence else sentence


def _waiting(url: str, folder: Path | None) -> Any:
    """What an outbox of recorders holds for this database; None where there is no such outbox."""
    from mofa_usage.recording.outbox.folder import Outbox
    from mofa_usage.recording.targets import default_folder, target_of
    from mofa_usage.urls import backend_of

    if folder is None:
        if backend_of(url) in (None, "memory"):
            return None
        folder = default_folder(target_of(url))
        return Outbox(folder).survey() if folder.is_dir() else None
    if not folder.is_dir():
        raise UsageError(f"there is no outbox {folder}")
    return Outbox(folder).survey()


def service(
    calls: Calls,
    printed: Printed,
    latency: Annotated[
        str | None, typer.Option("--latency", metavar="DURATION", help="A call may take so long: 2s, 500ms.")
    ] = None,
    ttft: Annotated[
        str | None, typer.Option("--ttft", metavar="DURATION", help="Its first token may take so long: 500ms.")
    ] = None,
    objective: Annotated[
        str, typer.Option("--objective", metavar="SHARE", help="The share of calls that shall be within all limits.")
    ] = "99%",
    by: By = None,
) -> None:
    """Show how many calls were good: successful, and within all limits together; and what that leaves of the budget.

    Calls that succeeded and lack a value that has a limit cannot be judged. JSON and CSV have the rows of the table.

    [bold]mofa-usage service --latency 2s --ttft 500ms --objective 99% --url sqlite:usage.db[/bold]

    [bold]mofa-usage service --latency 10s --by agent_name --start 7d --json[/bold]
    """
    latency_ms = None if latency is None else _milliseconds("--latency", latency)
    ttft_ms = None if ttft is None else _milliseconds("--ttft", ttft)
    usage, which = load(calls)
    answer = usage.service_level(by, latency_ms=latency_ms, ttft_ms=ttft_ms, objective=objective)
    if printed.for_programs:
        print_answer(answer.level, printed)
    elif answer.level.height:
        from mofa_usage.cli.tables import show_answer

        show_answer(answer.level, answer.sentence, droppable=_GIVES_WAY)
    if not len(usage):
        end_without_calls(calls, which)
