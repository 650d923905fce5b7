"""The groups of calls by all dimensions, and those of each level above: by all but the last one, ..., the whole.

One level is one pass over the calls. For several, what adds up is computed for the smallest groups and added; what
does not add up is asked of the engine for all levels at once. What needs the values of the groups in order is a pass
of its own, see `ordered`.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

import narwhals as nw
import polars as pl

from mofa_usage.analysis.aggregates import Plan, key
from mofa_usage.analysis.asking import OTHER_MARK, Asked
from mofa_usage.analysis.buckets import BUCKETS, Clock
from mofa_usage.analysis.engine import LazyCalls, collect, grouping_sets, picked
from mofa_usage.analysis.folding import Fold, Keys

__all__ = ["keys_of", "labels", "levels"]


def keys_of(asked: Asked, calls: LazyCalls, clock: Clock, fold: Fold | None) -> Keys:
    """What the engine groups by: an expression for each dimension, under k0, k1, ..."""
    expressions = {
        f"k{position}": key(entry, calls) if entry.kind == "category" else BUCKETS[entry.name].key(clock)
        for position, entry in enumerate(asked.dimensions)
    }
    return Keys(expressions, asked.dimensions, fold)


def labels(names: Mapping[str, str | None], result: pl.DataFrame, clock: ZoneInfo) -> dict[str, pl.Series]:
    """The dimensions of the groups, by name, from their keys."""
    found = {}
    for column, name in names.items():
        bucket = BUCKETS.get(name or "")
        found[name or OTHER_MARK] = result[column] if bucket is None else bucket.label(result[column], clock.key)
    return found


def levels(
    calls: LazyCalls, keys: Keys, plan: Plan, depths: Sequence[int], sums: pl.DataFrame | None = None
) -> dict[int, pl.DataFrame]:
    """For each depth the groups by so many dimensions: one row each, its keys and the aggregates of the plan.

    The first depth is the largest; `sums` is what adds up for its groups, where that is known.
    """
    columns = {**keys.expressions, **plan.values()}
    selected = keys.folded(calls.frame.select(**columns)) if columns else calls.frame
    names = [list(keys.names(depth)) for depth in depths]
    if len(names) == 1:
        expressions = plan.expressions(quantile_lists=calls.quantile_lists)
        if sums is None:
            found = [_grouped(plan.ranked(selected, names[0]), names[0], {**plan.adding(), **expressions})]
        elif expressions:
            found = [_beside(sums, _grouped(plan.ranked(selected, names[0]), names[0], expressions), names[0])]
        else:
            found = [sums]
    else:
        found = _several(selected, names, plan, sums)
    values, wanted = plan.ordered()
    if wanted:
        ordered = picked(selected.select(*names[0], **values), names, list(values), wanted)
        found = _all_beside(found, ordered, names)
    return dict(zip(depths, map(plan.unpacked, found), strict=True))


def _several(
    selected: nw.LazyFrame[Any], sets: Sequence[list[str]], plan: Plan, sums: pl.DataFrame | None
) -> list[pl.DataFrame]:
    smallest = _grouped(selected, sets[0], plan.adding()) if sums is None else sums
    found = [plan.added(smallest, names) for names in sets]
    parts = []
    values, asked = plan.undivided()
    if values:
        parts.append(grouping_sets(selected.select(*sets[0], **values), sets, asked))
    if amounts := plan.amounts():
        parts.append([_grouped(plan.ranked(selected, names), names, amounts) for names in sets])
    for part in parts:
        found = _all_beside(found, part, sets)
    return found


def _grouped(selected: nw.LazyFrame[Any], names: Sequence[str], expressions: Mapping[str, nw.Expr]) -> pl.DataFrame:
    if not names and not expressions:
        return pl.DataFrame()
    return collect((selected.group_by(*names).agg if names else selected.select)(**expressions))


def _all_beside(
    found: Sequence[pl.DataFrame], more: Sequence[pl.DataFrame], sets: Sequence[list[str]]
) -> list[pl.DataFrame]:
    return [_beside(groups, further, names) for groups, further, names in zip(found, more, sets, strict=True)]


def _beside(groups: pl.DataFrame, more: pl.DataFrame, names: list[str]) -> pl.DataFrame:
    """The groups with further columns of the same groups."""
    if not names:
        return groups.hstack(more) if groups.width else more
    return groups.join(more, on=names, how="left", nulls_equal=True, maintain_order="left")
