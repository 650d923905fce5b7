"""What an answer says, as one or two plain sentences made of its numbers.

Each question has its teller, which reads the answer as a `Told` and gives sentences without their full stops: those of
breakdowns are in `usual.py`. Names that come from the calls are as they are, so what is made of a sentence must escape
it.
"""

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

import polars as pl

from mofa_usage.analysis.sentences import sessions
from mofa_usage.analysis.sentences.against import against_recorded
from mofa_usage.analysis.sentences.beside import measures_beside
from mofa_usage.analysis.sentences.caches import cache_savings
from mofa_usage.analysis.sentences.change import explain_change
from mofa_usage.analysis.sentences.completeness import COMPLETENESS, OF_NOTHING
from mofa_usage.analysis.sentences.drivers import drivers, slow_drivers
from mofa_usage.analysis.sentences.reconciled import findings, reconciled
from mofa_usage.analysis.sentences.service import SERVICE
from mofa_usage.analysis.sentences.usual import USUAL, breakdown, distribution
from mofa_usage.analysis.sentences.waste import waste
from mofa_usage.analysis.told import Told
from mofa_usage.measures import Roles

__all__ = ["sentences"]

Whole = tuple[pl.DataFrame, Roles] | None

_TELLERS: Mapping[str, Callable[[Told], Iterator[str]]] = MappingProxyType(
    {
        **USUAL,
        **SERVICE,
        "against_recorded": against_recorded,
        "explain_change": explain_change,
        "measures_beside": measures_beside,
        "drivers": drivers,
        **COMPLETENESS,
        "reconcile": reconciled,
        "reconcile_findings": findings,
        "cache_savings": cache_savings,
        "session_costs": sessions.costs,
        "session_summary": sessions.summary,
        "sessions": sessions.dearest,
        "slow_drivers": slow_drivers,
        "turns": sessions.turns,
        "waste": waste,
    }
)
"""By `Roles.question`; of every other question it is `breakdown`."""

_OF_NOTHING: Mapping[str, str] = MappingProxyType(
    {
        **OF_NOTHING,
        **dict.fromkeys(("session_costs", "sessions", "turns"), "There are no sessions."),
        "against_recorded": "No call has another price.",
        "burn": "How fast the budget burns is not known: there are no calls in its windows.",
        "reconcile": "No day and no model of the bill could be compared.",
        "reconcile_findings": "The bill agrees with what was recorded.",
        "waste": "Nothing was wasted.",
    }
)
"""What an answer without rows says, by `Roles.question`, where it does not mean that there are no calls."""


def sentences(frame: pl.DataFrame, roles: Roles, whole: Whole = None) -> list[str]:
    """What an answer with those roles says; `whole` is the row of all calls, where it is known."""
    told = Told.of(frame, roles, None if whole is None else Told.of(*whole))
    has_nothing = not frame.height and not (roles.of_slices and whole is not None)
    if has_nothing or told.total("calls") == 0:
        return [_OF_NOTHING.get(roles.question, "There are no calls.")]
    is_spread = {"bin_start", "bin_end"} <= set(frame.columns)
    tell = distribution if is_spread else _TELLERS.get(roles.question, breakdown)
    said = list(tell(told)) or list(breakdown(told))
    return [f"{text[0].upper()}{text[1:]}." for text in said] or [f"There are {frame.height:,} rows."]
