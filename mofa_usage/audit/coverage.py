"""Of how many calls the price, the tokens and the times are known, by model."""

import duckdb

from mofa_usage.analysis import Breakdown, breakdown
from mofa_usage.measures import ANSWERS, MEASURES, Aggregate, Condition, Measure, MeasureColumn, Ratio, Roles

__all__ = ["UNKNOWN", "coverage"]

_SUCCEEDED = Condition("status", "==", "success")
_CALLS = Aggregate("count")

UNKNOWN = ("success_count", "unpriced", "no_tokens", "no_latency")
"""How many calls succeeded, and how many of these lack something: what findings are made of."""

_MEASURES = (
    MEASURES["calls"],
    MEASURES["coverage"],
    MEASURES["token_coverage"],
    Measure("latency_coverage", formula=Ratio(Aggregate("count", "latency_ms"), _CALLS)),
    Measure("ttft_coverage", formula=Ratio(Aggregate("count", "time_to_first_token_ms"), _CALLS)),
    MEASURES["success_count"],
    Measure("unpriced", formula=Aggregate("count", where=(_SUCCEEDED, Condition("total_price", "unknown")))),
    Measure("no_prompt", formula=Aggregate("count", where=(_SUCCEEDED, Condition("prompt_tokens", "unknown")))),
    Measure(
        "no_completion_only",
        formula=Aggregate(
            "count",
            where=(_SUCCEEDED, Condition("prompt_tokens", "known"), Condition("completion_tokens", "unknown")),
        ),
    ),
    Measure("no_latency", formula=Aggregate("count", where=(_SUCCEEDED, Condition("latency_ms", "unknown")))),
)


def coverage(calls: duckdb.DuckDBPyRelation, tz: str) -> Breakdown:
    """A row for each model, as far as the frame has the columns, with `UNKNOWN`."""
    columns = set(calls.columns)
    asked = [measure for measure in _MEASURES if columns.issuperset(measure.needs)]
    by = "model_name" if "model_name" in columns else ()
    found = breakdown(calls, by, asked, tz=tz)
    parts = [name for name in ("no_prompt", "no_completion_only") if name in found.columns]
    frame = found.with_columns(no_tokens=sum((found[name] for name in parts[1:]), found[parts[0]])) if parts else found
    frame = frame.drop(*parts)
    shown = {**MEASURES, **ANSWERS}
    measures = {name: MeasureColumn(shown[name]) for name in frame.columns if name in shown}
    kept = frame.drop("currency", strict=False)
    return Breakdown.of(kept, Roles(found.roles.dimensions, measures, question="completeness"))
