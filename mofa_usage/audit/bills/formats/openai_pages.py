"""Pages of OpenAI's admin API: `/v1/organization/usage/...` and `/v1/organization/costs`.

`{"object": "page", "data": [{"object": "bucket", "start_time": 1730419200, "end_time": 1730505600, "results": [...]}],
"has_more": true, "next_page": "..."}`; times are seconds since the epoch, days are those of UTC. A result names its
report in `object`; a page on which nothing was used does not tell which it is of.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mofa_usage.audit.bills.formats.openai_results import cost_line, usage_line
from mofa_usage.audit.bills.pages import COSTS, Bucket, Document, Line, Page, Report, count_of

__all__ = ["OpenAICosts", "OpenAIEmpty", "OpenAIUsage"]

_PROVIDER = "openai"
_COSTS = "organization.costs.result"
_SECOND = 1_000_000


class OpenAIUsage:
    """What was used: completions, embeddings and so on."""

    name = "OpenAI usage page"

    def recognises(self, document: Document) -> bool:
        """See `BillFormat`."""
        first = _first(document)
        return first is not None and first.startswith("organization.usage.")

    def read(self, document: Document) -> Iterable[Page]:
        """See `BillFormat`. What counts no tokens (characters, seconds, images) is no usage that can be compared."""
        kind = (_first(document) or "").split(".")[2]
        yield _page(document, kind, usage_line)


class OpenAICosts:
    """What it cost."""

    name = "OpenAI costs page"

    def recognises(self, document: Document) -> bool:
        """See `BillFormat`."""
        return _first(document) == _COSTS

    def read(self, document: Document) -> Iterable[Page]:
        """See `BillFormat`."""
        yield _page(document, COSTS, _cost)


class OpenAIEmpty:
    """A page without results, of whichever report."""

    name = "OpenAI page"

    def recognises(self, document: Document) -> bool:
        """See `BillFormat`."""
        return document.page is not None and bool(_buckets(document.page)) and _first(document) is None

    def read(self, document: Document) -> Iterable[Page]:
        """See `BillFormat`."""
        yield _page(document, "", usage_line)


def _cost(result: Mapping[str, Any]) -> Line:
    amount = result.get("amount")
    if not isinstance(amount, Mapping):
        raise ValueError(f"amount is {amount!r:.40}, where a value and a currency should be")
    return cost_line(amount.get("value"), amount.get("currency") or "usd", result)


def _buckets(page: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    data = page.get("data")
    buckets = data if isinstance(data, list) else []
    return [one for one in buckets if isinstance(one, Mapping) and "start_time" in one and "results" in one]


def _first(document: Document) -> str | None:
    """What the first result says that it is."""
    buckets = _buckets(document.page or {})
    results: Iterator[Mapping[str, Any]] = (result for bucket in buckets for result in _results(bucket))
    return next((str(result.get("object")) for result in results), None)


def _results(bucket: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    # Their libraries call it `result`.
    results = bucket.get("results") or []
    if not isinstance(results, list):
        raise ValueError(f"results is {results!r:.40}, where a list should be")
    return results


def _page(document: Document, kind: str, line: Any) -> Page:
    page = document.page or {}
    buckets = tuple(
        Bucket(
            count_of(bucket["start_time"], "start_time") * _SECOND,
            count_of(bucket.get("end_time"), "end_time") * _SECOND,
            tuple(line(result) for result in _results(bucket)),
        )
        for bucket in _buckets(page)
    )
    return Page(document.where, Report(_PROVIDER, kind), buckets, has_more=page.get("has_more") is True)
