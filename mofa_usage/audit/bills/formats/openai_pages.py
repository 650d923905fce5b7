"""Pages of OpenAI's admin API: `/v1/organization/usage/...` and `/v1/organization/costs`.

`{"object": "page", "data": [{"object": "bucket", "start_time": 1730419200, "end_time": 1730505600, "results": [...]}],
"has_more": true, "next_page": "..."}`; times are seconds since the epoch, days are those of UTC. A result names its
report in `object`; a page on which nothing was used does not tell which it is of.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mofa_usage.audit.bills.formats.objects import (
    buckets_in,
    first_result,
    has_more,
    is_without_results,
    results_in,
)
from mofa_usage.audit.bills.formats.openai_results import cost_line, usage_line
from mofa_usage.audit.bills.pages import COSTS, Bucket, Document, Line, Page, Report, moment_of

__all__ = ["OpenAICosts", "OpenAIEmpty", "OpenAIUsage"]

_START = "start_time"
_COSTS = "organization.costs.result"


class OpenAIUsage:
    """What was used: completions, embeddings and so on."""

    name = "OpenAI usage page"

    def recognises(self, document: Document) -> bool:
        """See `BillFormat`."""
        return _kind(document).startswith("organization.usage.")

    def read(self, document: Document) -> Iterable[Page]:
        """See `BillFormat`. What counts no tokens (characters, seconds, images) is no usage that can be compared."""
        yield _page(document, _kind(document).split(".")[2], usage_line)


class OpenAICosts:
    """What it cost."""

    name = "OpenAI costs page"

    def recognises(self, document: Document) -> bool:
        """See `BillFormat`."""
        return _kind(document) == _COSTS

    def read(self, document: Document) -> Iterable[Page]:
        """See `BillFormat`."""
        yield _page(document, COSTS, _cost)


class OpenAIEmpty:
    """A page without results, of whichever report."""

    name = "OpenAI page"

    def recognises(self, document: Document) -> bool:
        """See `BillFormat`."""
        return is_without_results(document, _START)

    def read(self, document: Document) -> Iterable[Page]:
        """See `BillFormat`."""
        yield _page(document, "", usage_line)


def _cost(result: Mapping[str, Any]) -> Line:
    amount = result.get("amount")
    if not isinstance(amount, Mapping):
        raise ValueError(f"amount is {amount!r:.40}, where a value and a currency should be")
    return cost_line(amount.get("value"), amount.get("currency") or "usd", result)


def _kind(document: Document) -> str:
    """What the first result says that it is."""
    return str((first_result(document, _START) or {}).get("object"))


def _page(document: Document, kind: str, line: Callable[[Mapping[str, Any]], Line]) -> Page:
    buckets = tuple(
        Bucket(
            moment_of(bucket[_START], _START),
            moment_of(bucket.get("end_time"), "end_time"),
            tuple(map(line, results_in(bucket))),
        )
        for bucket in buckets_in(document, _START)
    )
    return Page(document.where, Report("openai", kind), buckets, has_more=has_more(document))
