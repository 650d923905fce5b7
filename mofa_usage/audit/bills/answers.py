"""What came out as answers: the findings, both sides by day and model, and both sides by day."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import polars as pl

from mofa_usage.analysis import Breakdown
from mofa_usage.audit.bills.cells import Cell
from mofa_usage.audit.bills.findings import Finding
from mofa_usage.audit.bills.joining import day_of
from mofa_usage.audit.bills.pages import PROVIDERS
from mofa_usage.measures import ANSWERS, DIMENSIONS, Dimension, MeasureColumn, Roles, money_columns
from mofa_usage.pricing.rates import EXACT
from mofa_usage.reading.columns import MONEY
from mofa_usage.zones import DAY

__all__ = ["both_sides", "found"]

_KIND = Dimension("kind", "Finding", description="What is not as it should be.")
_PARTS = ("uncached", "cached", "written", "written_1h", "output")
_PLACES = Decimal("1E-10")


def found(findings: Iterable[Finding]) -> Breakdown:
    """The findings, in the order of days, providers and kinds."""
    ordered = sorted(findings, key=lambda one: (one.day, one.provider, one.kind, one.model or "", one.sentence))
    rows = [
        (
            one.kind,
            day_of(one.day * DAY),
            PROVIDERS.get(one.provider),
            one.model,
            one.sentence,
            one.unit or None,
            one.billed,
            one.recorded,
            None if one.billed is None or one.recorded is None else EXACT.subtract(one.billed, one.recorded),
        )
        for one in ordered
    ]
    schema: dict[str, Any] = {
        "kind": pl.String,
        "day": pl.Date,
        "provider_name": pl.String,
        "model_name": pl.String,
        "sentence": pl.String,
        "unit": pl.String,
        **dict.fromkeys(("billed", "recorded", "difference"), MONEY),
    }
    frame = pl.DataFrame([tuple(map(_rounded, row)) for row in rows], schema=schema, orient="row")
    dimensions = {"kind": _KIND, **{name: DIMENSIONS[name] for name in ("day", "provider_name", "model_name")}}
    measures = {name: MeasureColumn(ANSWERS[name]) for name in ("billed", "recorded", "difference")}
    return Breakdown.of(frame, Roles(dimensions, measures, question="reconcile_findings"))


def _rounded(value: Any) -> Any:
    return value.quantize(_PLACES, context=EXACT) if isinstance(value, Decimal) else value


def both_sides(tokens: Sequence[Cell], costs: Sequence[Cell], dimensions: Sequence[str]) -> Breakdown:
    """Both sides of the cells by `day`, `provider_name` and `model_name`, or by those of them that are `dimensions`.

    What no report tells is null: tokens without one of usage, requests where the provider does not count them, money
    without one of costs.
    """
    currencies = sorted({cell.currency for cell in costs})
    money = {
        f"{currency} {side}": column
        for side in ("billed", "recorded", "difference")
        for currency, column in money_columns(f"cost_{side}", currencies).items()
    }
    sums = ["tokens_billed", "tokens_recorded", "tokens_difference"]
    counted = [f"{name}_{side}" for name in ("requests", *_PARTS) for side in ("billed", "recorded")]
    rows: dict[tuple[Any, ...], dict[str, Any]] = defaultdict(dict)
    for cell in (*tokens, *costs):
        keys = {
            "day": day_of(cell.key.day * DAY),
            "provider_name": PROVIDERS[cell.key.provider],
            "model_name": cell.key.model,
        }
        _add(rows[tuple(keys[name] for name in dimensions)], _numbers(cell, money))
    ordered = sorted(rows.items(), key=lambda row: tuple((value is not None, str(value or "")) for value in row[0]))
    types: dict[str, Any] = {name: pl.Date() if name == "day" else pl.String() for name in dimensions}
    types |= {name: MONEY if name in money.values() else pl.Int64() for name in (*sums, *money.values(), *counted)}
    frame = pl.DataFrame(
        [
            (*key, *(_rounded(numbers.get(name)) for name in (*sums, *money.values(), *counted)))
            for key, numbers in ordered
        ],
        schema=types,
        orient="row",
    )
    if len(currencies) == 1:
        frame = frame.with_columns(currency=pl.lit(currencies[0]))
    measures = {name: MeasureColumn(ANSWERS[name]) for name in sums}
    for key, column in money.items():
        currency, side = key.split(" ")
        measures[column] = MeasureColumn(ANSWERS[f"cost_{side}"], None if len(currencies) == 1 else currency)
    measures |= {name: MeasureColumn(ANSWERS[name]) for name in counted}
    held = {name: DIMENSIONS[name] for name in dimensions}
    return Breakdown.of(frame, Roles(held, measures, tuple(currencies), question="reconcile"))


def _numbers(cell: Cell, money: Mapping[str, str]) -> dict[str, Any]:
    """The numbers of a cell under the names of their columns."""
    if cell.of_money:
        billed, recorded = (side.cost or Decimal(0) for side in (cell.billed, cell.recorded))
        sides = {"billed": billed, "recorded": recorded, "difference": EXACT.subtract(billed, recorded)}
        return {money[f"{cell.currency} {side}"]: amount for side, amount in sides.items()}
    found: dict[str, Any] = {
        "tokens_difference": cell.billed.counts.total - cell.recorded.counts.total,
        "requests_recorded": cell.recorded.used,
    }
    if cell.billed.requests is not None:
        found["requests_billed"] = cell.billed.requests
    for side, counts in (("billed", cell.billed.counts), ("recorded", cell.recorded.counts)):
        found[f"tokens_{side}"] = counts.total
        found |= {f"{part}_{side}": getattr(counts, part) for part in _PARTS}
    return {name: value for name, value in found.items() if value is not None}


def _add(row: dict[str, Any], numbers: Mapping[str, Any]) -> None:
    for name, value in numbers.items():
        row[name] = value if name not in row else row[name] + value
