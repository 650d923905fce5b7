"""Pages of Anthropic's admin API: `/v1/organizations/usage_report/messages` and `/v1/organizations/cost_report`.

`{"data": [{"starting_at": "2026-05-01T00:00:00Z", "ending_at": "...", "results": [...]}], "has_more": true,
"next_page": "..."}`; days are those of UTC. In usage, input that had nothing to do with the cache is apart
(`uncached_input_tokens`), and what was written to it is told by its lifetime (`cache_creation`). Nobody counts requests
but the newer Analytics API. **Amounts are decimal texts in cents**: "41280.000000" is $412.80. The costs of the
priority tier are not among them, nor is the use of code execution in the usage.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from mofa_usage.audit.bills.formats.objects import (
    buckets_in,
    first_result,
    has_more,
    is_without_results,
    results_in,
)
from mofa_usage.audit.bills.pages import (
    COSTS,
    Bucket,
    Counts,
    Document,
    Line,
    Page,
    Report,
    count_of,
    key_of,
    model_of,
    money_of,
)
from mofa_usage.pricing.quotes import plain_tier
from mofa_usage.values import read_currency
from mofa_usage.zones import microseconds

__all__ = ["AnthropicCosts", "AnthropicEmpty", "AnthropicUsage"]

_START = "starting_at"
_KEYS = (
    *("api_key_id", "workspace_id", "account_id", "service_account_id", "context_window", "inference_geo", "speed"),
    *("product", "rbac_group_id", "slack_channel_id", "claude_tag_category", "claude_tag_user_id"),
)
_PIECES = {
    "uncached_input_tokens": "uncached",
    "cache_read_input_tokens": "cached",
    "cache_creation.ephemeral_5m_input_tokens": "written",
    "cache_creation.ephemeral_1h_input_tokens": "written_1h",
    "output_tokens": "output",
}


class AnthropicUsage:
    """What was used."""

    name = "Anthropic usage page"

    def recognises(self, document: Document) -> bool:
        """See `BillFormat`."""
        return "uncached_input_tokens" in (first_result(document, _START) or ())

    def read(self, document: Document) -> Iterable[Page]:
        """See `BillFormat`."""
        yield _page(document, "completions", _usage)


class AnthropicCosts:
    """What it cost."""

    name = "Anthropic cost page"

    def recognises(self, document: Document) -> bool:
        """See `BillFormat`."""
        return {"amount", "currency"} <= set(first_result(document, _START) or ())

    def read(self, document: Document) -> Iterable[Page]:
        """See `BillFormat`."""
        yield _page(document, COSTS, _cost)


class AnthropicEmpty:
    """A page without results, of whichever report."""

    name = "Anthropic page"

    def recognises(self, document: Document) -> bool:
        """See `BillFormat`."""
        return is_without_results(document, _START)

    def read(self, document: Document) -> Iterable[Page]:
        """See `BillFormat`."""
        yield _page(document, "", _usage)


def _usage(result: Mapping[str, Any]) -> Line:
    created = result.get("cache_creation") or {}
    if not isinstance(created, Mapping):
        raise ValueError(f"cache_creation is {created!r:.40}, where tokens by lifetime should be")
    hour = count_of(created.get("ephemeral_1h_input_tokens"), "ephemeral_1h_input_tokens")
    counted = {
        "uncached": count_of(result.get("uncached_input_tokens"), "uncached_input_tokens"),
        "cached": count_of(result.get("cache_read_input_tokens"), "cache_read_input_tokens"),
        "written": hour + count_of(created.get("ephemeral_5m_input_tokens"), "ephemeral_5m_input_tokens"),
        "output": count_of(result.get("output_tokens"), "output_tokens"),
    }
    requests = result.get("requests")
    return Line(
        model=model_of(result),
        tier=_tier(result),
        counts=Counts(**counted, written_1h=hour),
        requests=None if requests is None else count_of(requests, "requests"),
        key=key_of(result, _KEYS),
    )


def _cost(result: Mapping[str, Any]) -> Line:
    about = result.get("description") or result.get("cost_type") or ""
    return Line(
        model=model_of(result),
        tier=_tier(result),
        amount=money_of(result["amount"], "amount").scaleb(-2),
        currency=read_currency(str(result["currency"] or "USD")),
        piece=_PIECES.get(str(result.get("token_type"))),
        about=str(about),
        key=key_of(result, _KEYS),
    )


def _tier(result: Mapping[str, Any]) -> str | None:
    tier = result.get("service_tier")
    return None if tier is None else plain_tier(str(tier))


def _page(document: Document, kind: str, line: Callable[[Mapping[str, Any]], Line]) -> Page:
    buckets = tuple(
        Bucket(
            _moment(bucket[_START], _START),
            _moment(bucket.get("ending_at"), "ending_at"),
            tuple(map(line, results_in(bucket))),
        )
        for bucket in buckets_in(document, _START)
    )
    return Page(document.where, Report("anthropic", kind), buckets, has_more=has_more(document))


def _moment(value: object, name: str) -> int:
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        raise ValueError(f"{name} is {value!r:.40}, which is no time") from None
    return microseconds(moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC))
