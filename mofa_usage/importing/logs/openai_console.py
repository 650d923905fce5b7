"""What OpenAI's console exports, and its admin API answers: usage and costs by day, which are sums and no calls.

A row counts its requests (`num_model_requests`), a page those of all its buckets. `mofa_usage.audit.bills` reads them.
"""

from collections.abc import Mapping
from typing import Any

from mofa_usage.importing.logs import LogFormat, Sample
from mofa_usage.importing.logs.sums import left_out, objects_in, requests_in

__all__ = ["OPENAI_CONSOLE"]

_TABLES = ({"start_time", "end_time", "num_model_requests"}, {"start_time", "end_time", "amount_value"})


def _recognises(sample: Sample) -> bool:
    return any(table <= sample.columns for table in _TABLES) or any(_buckets(row) for row in sample.rows)


def _buckets(row: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The buckets of a page, or the one that the row is."""
    data = row.get("data") if row.get("object") == "page" else [row]
    return [one for one in objects_in(data) if one.get("object") == "bucket"]


def _requests(row: Mapping[str, Any]) -> object:
    if not (buckets := _buckets(row)):
        return row.get("num_model_requests")
    return requests_in(buckets, "num_model_requests")


OPENAI_CONSOLE = LogFormat("OpenAI usage and costs", _recognises, left_out(_requests))
