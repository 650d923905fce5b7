"""What answers about sessions say: what they cost in the middle and at most, and how much dearer their turns become."""

from collections.abc import Iterator
from typing import Any

import polars as pl

from mofa_usage import wording
from mofa_usage.analysis.told import Told

__all__ = ["costs", "dearest", "summary", "turns"]

_SOME = 0.1
"""The turn that is told of is the last one that so many of the sessions reach."""


def summary(told: Told) -> Iterator[str]:
    """What the sessions cost together and each, and how many turns they have."""
    number = told.only("sessions")
    if not number:
        yield "there are no sessions"
        return
    yield "; ".join([f"there {'is' if number == 1 else 'are'} {_sessions(number)}", *_each(told)])
    most, half = told.only("session_turns_max"), told.only("session_turns_p50")
    if number > 1 and most is not None and half is not None:
        turned = f"{wording.count(half)} turn{'' if half == 1 else 's'}"
        yield f"half of them have at most {turned}, the longest has {wording.count(most)}"


def _each(told: Told) -> Iterator[str]:
    costs = {name: told.amounts(f"session_cost_{name}") for name in ("p50", "p95", "max")}
    total = told.amounts("cost")
    if not any(values.count() for values in total.values()):
        yield "what they cost is unknown: no call has a price"
    for code, values in total.items():
        if values[0] is None:
            continue
        half, most, dearest = (wording.money(costs[name][code][0], code or "USD") for name in ("p50", "p95", "max"))
        yield (
            f"they cost {wording.money(values[0], code or 'USD')}, half of them at most {half} each, "
            f"95% at most {most}, the dearest {dearest}"
        )


def turns(told: Told) -> Iterator[str]:
    """The first turn, and the last one that a tenth of the sessions reach, with what it adds to the one before.

    Who reaches it are other sessions, so that their means are not compared.
    """
    if "turn" not in told.frame.columns or (reached := told.column("sessions")) is None:
        return
    rows = told.frame.with_row_index("row").sort("turn")
    most: Any = rows[reached].max()
    first, last = rows["row"][0], rows.filter(pl.col(reached) >= most * _SOME)["row"][-1]
    yield f"the first turn {' and '.join(_of_turn(told, first)) or 'is of unknown cost'}"
    if last != first and (said := list(_of_turn(told, last))):
        number, share = told.frame["turn"][last], wording.percent(told.frame[reached][last] / most)
        yield f"turn {number}, which {share} of the sessions reach, {' and '.join(said)}{_grown(told, last)}"


def _of_turn(told: Told, row: int) -> Iterator[str]:
    """What a turn costs and sends on average."""
    amounts = [
        wording.money(values[row], code or "USD")
        for code, values in told.amounts("turn_cost_mean").items()
        if values[row] is not None
    ]
    if amounts:
        yield f"costs {' and '.join(amounts)}"
    prompts = told.column("turn_prompt_mean")
    if prompts is not None and told.frame[prompts][row] is not None:
        yield f"sends {wording.count(round(told.frame[prompts][row]))} prompt tokens"


def _grown(told: Told, row: int) -> str:
    column = told.column("turn_growth")
    grown = None if column is None else told.frame[column][row]
    if grown is None or not round(grown):
        return ""
    return f", {wording.count(abs(round(grown)))} {'more' if grown > 0 else 'fewer'} than the turn before in them"


def dearest(told: Told) -> Iterator[str]:
    """What the dearest session in each currency cost, and in how many turns."""
    for code, values in told.amounts("cost").items():
        if values.count() and (row := values.arg_max()) is not None:
            count = told.column("turns")
            number = None if count is None else told.frame[count][row]
            turned = "" if number is None else f" in {wording.count(number)} turn{'' if number == 1 else 's'}"
            yield f"the dearest session cost {wording.money(values[row], code or 'USD')}{turned}"


def costs(told: Told) -> Iterator[str]:
    """Where most sessions lie."""
    if (column := told.column("sessions")) is None or "cost_from" not in told.frame.columns:
        return
    row = told.frame.sort(column, "cost_from", descending=[True, False], nulls_last=True).row(0, named=True)
    code, low, high = row.get("currency") or "USD", row["cost_from"], row["cost_to"]
    where = "nothing" if low is None else f"from {wording.money(low, code)}"
    upto = "" if low is None or high is None else f" to {wording.money(high, code)}"
    of_code = told.frame.filter(pl.col("currency") == code) if "currency" in told.frame.columns else told.frame
    yield f"of the {_sessions(of_code[column].sum())} {wording.count(row[column])} cost {where}{upto}"


def _sessions(number: Any) -> str:
    return f"{wording.count(number)} session{'' if number == 1 else 's'}"
