"""What Anthropic's console exports, and its admin API answers: usage and costs by day, which are sums and no calls.

Nobody there counts requests, but the Analytics API. `mofa_usage.audit.bills` reads them.
"""

from collections.abc import Mapping
from typing import Any

from mofa_usage.importing.logs import LogFormat, Sample
from mofa_usage.importing.logs.sums import left_out, objects_in, requests_in

__all__ = ["ANTHROPIC_CONSOLE"]

_DAY = "usage_date_utc"
_SAYS = {"usage_output_tokens", "cost_usd"}


def _recognises(sample: Sample) -> bool:
    is_table = _DAY in sample.columns and not sample.columns.isdisjoint(_SAYS)
    return is_table or any(_buckets(row) for row in sample.rows)


def _buckets(row: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The buckets of a page, or the one that the row is."""
    data = row.get("data") if "has_more" in row else [row]
    return [one for one in objects_in(data) if {"starting_at", "results"} <= one.keys()]


def _requests(row: Mapping[str, Any]) -> object:
    return requests_in(_buckets(row), "requests")


ANTHROPIC_CONSOLE = LogFormat("Anthropic usage and costs", _recognises, left_out(_requests))
