"""Tables that Anthropic's console exports from its pages of usage and cost.

Usage: a row for a day, a model, a key and so on, with the tokens by kind (`usage_input_tokens_no_cache`,
`usage_input_tokens_cache_write_5m`, ...). Cost: a row for each kind of token, in **dollars**, rounded to their last
decimal, and with the model's title ("Claude Haiku 4.5") for its name. Days are those of UTC; one on which nothing was
used is not there. Neither counts requests.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal

from mofa_usage.audit.bills.formats.tables import buckets_of_rows
from mofa_usage.audit.bills.pages import COSTS, Bucket, Counts, Document, Line, Page, Report, count_of, key_of, money_of
from mofa_usage.pricing.quotes import plain_tier
from mofa_usage.zones import DAY, microseconds

__all__ = ["AnthropicCostCsv", "AnthropicUsageCsv"]

_DAY_COLUMN = "usage_date_utc"
_KEYS = ("api_key", "workspace", "context_window", "inference_geo", "speed", "cost_type")
_PIECES = {
    "input_no_cache": "uncached",
    "input_cache_read": "cached",
    "input_cache_write_5m": "written",
    "input_cache_write_1h": "written_1h",
    "output": "output",
}
_TIERS = {"message": None}
"""What the cost export says of how a model was used that is no tier."""


class AnthropicUsageCsv:
    """The export of usage."""

    name = "Anthropic usage export"

    def recognises(self, document: Document) -> bool:
        """See `BillFormat`."""
        return {_DAY_COLUMN, "usage_output_tokens"} <= set(document.columns)

    def read(self, document: Document) -> Iterable[Page]:
        """See `BillFormat`."""
        buckets, doubled = buckets_of_rows(document.rows, lambda row: _bucket(row, _usage(row)))
        yield Page(document.where, Report("anthropic", "completions"), buckets, lists_all=False, doubled=doubled)


class AnthropicCostCsv:
    """The export of costs."""

    name = "Anthropic cost export"

    def recognises(self, document: Document) -> bool:
        """See `BillFormat`."""
        return {_DAY_COLUMN, "cost_usd"} <= set(document.columns)

    def read(self, document: Document) -> Iterable[Page]:
        """See `BillFormat`."""
        buckets, doubled = buckets_of_rows(document.rows, lambda row: _bucket(row, _cost(row)))
        yield Page(document.where, Report("anthropic", COSTS), buckets, lists_all=False, doubled=doubled)


def _bucket(row: Mapping[str, str], line: Line) -> Bucket:
    text = row[_DAY_COLUMN].strip()
    try:
        day = date.fromisoformat(text[:10])
    except ValueError:
        raise ValueError(f"{_DAY_COLUMN} is {text!r:.40}, which is no day") from None
    start = microseconds(datetime.combine(day, time.min, UTC))
    return Bucket(start, start + DAY, (line,))


def _usage(row: Mapping[str, str]) -> Line:
    names = {"uncached": "no_cache", "cached": "cache_read", "written": "cache_write_5m", "hour": "cache_write_1h"}
    columns = {part: f"usage_input_tokens_{name}" for part, name in names.items()}
    found = {part: count_of(row.get(column), column) for part, column in columns.items()}
    counts = Counts(
        found["uncached"],
        found["cached"],
        found["written"] + found["hour"],
        count_of(row["usage_output_tokens"], "usage_output_tokens"),
        found["hour"],
    )
    tier = row.get("usage_type") or None
    return Line(
        model=row.get("model_version") or row.get("model") or None,
        tier=None if tier is None else plain_tier(tier),
        counts=counts,
        key=key_of(row, _KEYS),
    )


def _cost(row: Mapping[str, str]) -> Line:
    amount = money_of(row["cost_usd"] or 0, "cost_usd")
    usage = (row.get("usage_type") or "").strip().lower()
    piece = _PIECES.get(row.get("token_type") or "")
    exponent = amount.as_tuple().exponent
    return Line(
        model=row.get("model") or None,
        tier=_TIERS.get(usage, plain_tier(usage) if usage else None),
        amount=amount,
        currency="USD",
        piece=piece,
        about=row.get("token_type") or row.get("cost_type") or usage,
        slack=Decimal("0.5").scaleb(exponent if isinstance(exponent, int) and exponent > -6 else -6),
        key=key_of(row, _KEYS),
    )
