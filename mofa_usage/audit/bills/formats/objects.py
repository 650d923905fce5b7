"""Pages of JSON: the buckets in their `data`, the results in these, and the first result, which tells whose page it is.

Both providers write them alike; only what a bucket calls its beginning differs (`start`).
"""

from collections.abc import Mapping
from typing import Any

from mofa_usage.audit.bills.pages import Document

__all__ = ["buckets_in", "first_result", "has_more", "is_without_results", "results_in"]


def buckets_in(document: Document, start: str) -> list[Mapping[str, Any]]:
    """The buckets of a page; none where it is no page, or one of somebody else."""
    data = (document.page or {}).get("data")
    buckets = data if isinstance(data, list) else []
    return [one for one in buckets if isinstance(one, Mapping) and start in one and "results" in one]


def results_in(bucket: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The results of a bucket.

    Raises:
        ValueError: they are no list.
    """
    results = bucket.get("results") or []
    if not isinstance(results, list):
        raise ValueError(f"results is {results!r:.40}, where a list should be")
    return results


def first_result(document: Document, start: str) -> Mapping[str, Any] | None:
    """The first result of a page; None where it has none, or none that is one: then reading it says so."""
    several = (bucket["results"] for bucket in buckets_in(document, start))
    results = (result for found in several if isinstance(found, list) for result in found)
    return next((result for result in results if isinstance(result, Mapping)), None)


def has_more(document: Document) -> bool:
    """Whether the provider says that another page follows; where `has_more` was not saved, by the name of that page."""
    page = document.page or {}
    said = page.get("has_more")
    return said if isinstance(said, bool) else bool(page.get("next_page"))


def is_without_results(document: Document, start: str) -> bool:
    """Whether it is a page on which nothing was used."""
    return bool(buckets_in(document, start)) and first_result(document, start) is None
