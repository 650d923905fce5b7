"""What a result of OpenAI's reports says, in the pages of its admin API as in the tables that its console exports.

Usage (`/v1/organization/usage/completions` and its sisters): `input_tokens` include what was read from a cache. They
include audio and images, too, where the result also says `input_uncached_tokens` (since 2025); before, they were text
alone, and audio was beside them. `batch` is a key of its own: the service tier of what a batch did says `default`.

Costs (`/v1/organization/costs`): `amount.value` is a number or a text, in dollars, `amount.currency` in small letters.
The model stands in `line_item` only: `gpt-4o-2024-08-06, cached input`, `priority | gpt-5.6-sol, output, long context`,
`gpt-audio-mini-2025-12-15 audio, input`; other items are no model's (`web search tool calls`).
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mofa_usage.audit.bills.pages import Counts, Line, count_of, key_of, model_of, money_of
from mofa_usage.pricing.quotes import plain_tier
from mofa_usage.values import read_currency

__all__ = ["cost_line", "usage_line"]

_KEYS = ("project_id", "user_id", "api_key_id", "api_source", "organization_id", "size", "source")

_PIECES = {
    "input": "uncached",
    "input_tokens": "uncached",
    "cached input": "cached",
    "cache writes": "written",
    "output": "output",
    "output_tokens": "output",
}
_TIERS = frozenset(("batch", "flex", "priority", "scale"))
_ITEM = re.compile(r"(?P<model>[^\s,|]+)(?: (?P<modality>\w+))?(?:, (?P<piece>[^,]+)(?:, .*)?)?")


def usage_line(result: Mapping[str, Any]) -> Line:
    """A result of a report of usage.

    Raises:
        ValueError: a count is none.
    """
    counted = {name: count_of(value, name) for name, value in result.items() if name.endswith("_tokens")}
    cached = counted.get("input_cached_tokens", 0)
    written = sum(count for name, count in counted.items() if name.startswith("input_cache_write_"))  # each lifetime
    whole, output = counted.get("input_tokens", 0), counted.get("output_tokens", 0)
    if result.get("input_uncached_tokens") in (None, ""):
        whole += counted.get("input_audio_tokens", 0)
        output += counted.get("output_audio_tokens", 0)
    if cached + written > whole:
        raise ValueError(f"input_tokens is {whole}, of which {cached + written} were cached; it is more than the whole")
    return Line(
        model=model_of(result),
        tier=_tier(_flag(result.get("batch")), result.get("service_tier") or None),
        counts=Counts(whole - cached - written, cached, written, output),
        requests=count_of(result.get("num_model_requests"), "num_model_requests"),
        key=key_of(result, _KEYS),
    )


def _flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else {"true": True, "false": False}.get(str(value).strip().lower())


def _tier(batch: bool | None, tier: str | None) -> str | None:
    if batch:
        return "batch"
    if tier is None:
        return None if batch is None else "not batch"
    plain = plain_tier(tier)
    return "standard or batch" if batch is None and plain == "standard" else plain


def cost_line(amount: object, currency: object, result: Mapping[str, Any]) -> Line:
    """A result of the costs.

    Raises:
        ValueError: the amount is no number.
    """
    item = result.get("line_item") or ""
    *before, last = str(item).split(" | ")
    found = _ITEM.fullmatch(last)
    line = Line(
        amount=money_of(amount, "amount.value"),
        currency=read_currency(str(currency)),
        about=str(item),
        key=key_of(result, _KEYS),
    )
    if found is None or (found["piece"] is None and (before or " " in last)):
        return line  # it is no model's
    return replace(
        line,
        model=found["model"],
        tier=next((word for word in before if word in _TIERS), None),
        # Sounds and images cost otherwise than text.
        piece=_PIECES.get(found["piece"] or "") if found["modality"] is None else None,
    )
