"""From what was handed over to what a record holds: done at delivery, so that it costs the caller nothing.

An integration hands over a call with the provider's usage as it is, or the attributes of a span that say it. Here it
becomes counts, details and labels.
"""

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from mofa_usage.tokens import TokenCounts, TokenValueError, read_tokens
from mofa_usage.values import COMPLETION_UNKNOWN, MAX_INT, exact_price, token_source_of

__all__ = ["completed"]

_SEEN = ("provider", "operation", "attempt", "retried", "served_model", "service_tier", "request_id")

_PROMPT_PARTS = frozenset(("cached_tokens", "audio_tokens", "cache_write_tokens"))
_COMPLETION_PARTS = frozenset(
    ("reasoning_tokens", "audio_tokens", "accepted_prediction_tokens", "rejected_prediction_tokens")
)
_USUAL = frozenset(
    ("prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details", "completion_tokens_details")
)


def completed(call: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a call for `LLMApiCall.model_validate`, of a call as `Observer` hands it over.

    `usage` becomes the counts and their details, and what prices follow from becomes labels, like what is in `seen`; a
    cost that the provider names becomes the price. A usage of estimates says so (`token_source`). A call without
    `usage` comes back as it is.
    """
    if "usage" not in call:
        return dict(call)
    fields = dict(call)
    usage = fields.pop("usage")
    labels = dict(fields.get("labels") or {})
    if isinstance(seen := fields.pop("seen", None), Mapping):
        labels |= _labels(seen, fields.get("model_name"))
    counts = _counts(usage)
    if counts is not None:
        for term, value in counts.terms.items():
            if value is not None:
                labels.setdefault(term, str(value))
    fields["labels"] = labels
    fields |= _tokens(counts, has_completion=labels.get("operation") != "embeddings")
    fields |= _rate(fields)
    if isinstance(usage, Mapping) and (price := _price(usage.get("cost"))) is not None:
        fields |= {"total_price": price, "price_details": {"currency": "USD", "price_source": "provider"}}
    return fields


def _labels(seen: Mapping[str, Any], model: Any) -> dict[str, str]:
    """What an attempt was seen to be, as far as it is known; the model that answered where it is another one."""
    known = {name: seen[name] for name in _SEEN if seen.get(name)}
    if known.get("served_model") == model:
        del known["served_model"]
    return {name: "true" if value is True else str(value) for name, value in known.items()}


def _counts(usage: Any) -> TokenCounts | None:
    if not isinstance(usage, Mapping):
        return None
    if (usual := _usual(usage)) is not None:
        return usual
    is_of_a_span = any("." in name for name in usage)  # its attributes say themselves whose names they are
    try:
        counts = read_tokens(usage if is_of_a_span else {"usage": usage})
    except TokenValueError:
        return None  # a count that is none says nothing
    return counts if (counts.prompt_tokens or 0) + (counts.completion_tokens or 0) <= MAX_INT else None


def _usual(usage: Mapping[str, Any]) -> TokenCounts | None:
    """OpenAI's counts as nearly all who speak its language send them, where they agree with each other: `read_tokens`
    reads them alike and takes five times as long. None for everything else.
    """
    if not usage.keys() <= _USUAL:
        return None
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if not (type(prompt) is type(completion) is int and prompt >= 0 <= completion):
        return None
    prompt_parts = _usual_parts(usage.get("prompt_tokens_details"), prompt, _PROMPT_PARTS)
    completion_parts = _usual_parts(usage.get("completion_tokens_details"), completion, _COMPLETION_PARTS)
    if prompt_parts is None or completion_parts is None or usage.get("total_tokens") != prompt + completion:
        return None
    if prompt_parts.get("cached_tokens", 0) + prompt_parts.get("cache_write_tokens", 0) > prompt:
        return None
    return TokenCounts(prompt, completion, prompt + completion, prompt_parts, completion_parts, "provider", {})


def _usual_parts(parts: Any, whole: int, names: frozenset[str]) -> dict[str, int] | None:
    """The parts of a count that are known; None where one is no part of it, or has another name."""
    if parts is None:
        return {}
    if type(parts) is not dict or not parts.keys() <= names:
        return None
    known = {name: part for name, part in parts.items() if part is not None}
    return known if all(type(part) is int and 0 <= part <= whole for part in known.values()) else None


def _tokens(counts: TokenCounts | None, *, has_completion: bool) -> dict[str, Any]:
    prompt = None if counts is None else counts.prompt_tokens
    completion = None if counts is None else counts.completion_tokens
    if completion is None and prompt is not None and not has_completion:
        completion = 0
    source = token_source_of(prompt, completion)
    told = None if counts is None else counts.token_source
    if source == "provider" and told == "estimated":
        source = told
    # A record has no parts of a count that is not known.
    prompt_details = dict(counts.prompt_details) if counts is not None and prompt is not None else {}
    completion_details = dict(counts.completion_details) if counts is not None and completion is not None else {}
    if source != "provider":
        completion_details["token_source"] = source
    return {
        "prompt_tokens": prompt or 0,
        "completion_tokens": completion or 0,
        "total_tokens": (prompt or 0) + (completion or 0),
        "prompt_tokens_details": prompt_details or None,
        "completion_tokens_details": completion_details or None,
    }


def _rate(fields: Mapping[str, Any]) -> dict[str, Any]:
    latency, completion = fields.get("latency_ms"), fields["completion_tokens"]
    details = fields["completion_tokens_details"] or {}
    if fields["status"] != "success" or not latency or details.get("token_source") in COMPLETION_UNKNOWN:
        return {}
    return {"tokens_per_second": completion / timedelta(milliseconds=latency).total_seconds()}


def _price(cost: Any) -> Decimal | None:
    """A cost in US dollars, as OpenRouter puts it into the usage; Perplexity puts it into an object."""
    if isinstance(cost, Mapping):
        cost = cost.get("total_cost")
    if isinstance(cost, bool) or not isinstance(cost, int | float | str | Decimal):
        return None
    try:
        price = exact_price(Decimal(str(cost)), rounded=True)
    except InvalidOperation:
        return None
    return price if price is not None and 0 <= price < 100_000 else None
