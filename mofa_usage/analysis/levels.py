"""The groups of calls by all dimensions, and those of each level above: by all but the last one, ..., the whole."""

from collections.abc import Iterable

import polars as pl

from mofa_usage.analysis.aggregates import Plan
from mofa_usage.analysis.engine import LazyCalls, collect
from mofa_usage.analysis.folding import Keys

__all__ = ["levels"]


def levels(calls: LazyCalls, keys: Keys, plan: Plan, depths: Iterable[int]) -> dict[int, pl.DataFrame]:
    """For each depth the groups by so many dimensions: one row each, its keys and the aggregates of the plan."""
    columns = {**keys.expressions, **plan.values()}
    selected = keys.folded(calls.frame.select(**columns)) if columns else calls.frame
    expressions = plan.expressions(quantile_lists=calls.quantile_lists)
    found = {}
    for depth in depths:
        names = keys.names(depth)
        chosen = plan.ranked(selected, names)
        grouped = chosen.group_by(*names).agg if names else chosen.select
        found[depth] = plan.unpacked(collect(grouped(**expressions)))
    return found
