"""Rates: what the kinds of tokens cost, and what the tokens of one call come to.

Counts are inclusive (`records`), prices are of disjoint kinds. So a call is first cut into kinds that do not overlap:
of a prompt of 1,000 tokens with 600 cached and 100 written to the cache, 300 are plain `input`. Each kind has a price,
or another kind stands in for it: cached tokens of a model without a price for them cost what `input` costs. Where that
is a guess (`KINDS`) the charge is not exact.

A price may depend on the size of the prompt: above its threshold *all* tokens of the call, those of the answer too,
cost the higher price. Amounts are exact until the end. The total is rounded once, half to even at ten places; its parts
are rounded down, and what that leaves over goes to the largest, so that they add up to the total.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import MAX_EMAX, MIN_EMIN, ROUND_DOWN, ROUND_HALF_EVEN, Context, Decimal, localcontext
from typing import Any, NamedTuple

from mofa_usage.details import TokenDetails
from mofa_usage.records import LLMApiCall
from mofa_usage.values import PROMPT_UNKNOWN

__all__ = ["EXACT", "KINDS", "PARTS", "Charge", "ContradictionError", "Kind", "Rate", "Rates", "charge", "flat"]

PARTS = ("input", "cached", "cache_write", "output", "other")

EXACT = Context(prec=200, rounding=ROUND_HALF_EVEN, Emax=MAX_EMAX, Emin=MIN_EMIN)
"""Sums of money are done in it, whatever context the caller has: none of them has 200 digits."""
_PLACES = Decimal("1E-10")
_PER_MILLION = Decimal("1E-6")
_LIFETIME = re.compile(r"cache_write_(.+)_tokens")
_STANDARD = ("5m", "30m")  # what a provider's caches keep unless told to keep it longer


class Kind(NamedTuple):
    """A kind of token (or of another thing that is charged for) that may have a price of its own.

    Attributes:
        part: the part of the price that it belongs to.
        stand_ins: the kinds whose price it costs where it has none, the first that has one.
        as_good: those of them that are no guess: models are sold so.
    """

    part: str
    stand_ins: tuple[str, ...] = ()
    as_good: tuple[str, ...] = ()


KINDS: Mapping[str, Kind] = {
    "input": Kind("input"),
    "input_audio": Kind("input", ("input",)),
    "input_image": Kind("input", ("input",), ("input",)),
    "input_video": Kind("input", ("input",), ("input",)),
    "cached": Kind("cached", ("input",)),
    "cached_audio": Kind("cached", ("cached", "input_audio", "input")),
    "cached_image": Kind("cached", ("cached", "input_image", "input"), ("cached",)),
    "cache_write": Kind("cache_write", ("input",)),
    "cache_write_1h": Kind("cache_write", ("cache_write", "input")),
    # Kept longer than that, as OpenAI does for twelve hours: no book that we know has a price for it.
    "cache_write_other": Kind("cache_write", ("cache_write", "input")),
    "output": Kind("output"),
    "output_audio": Kind("output", ("output",)),
    "output_image": Kind("output", ("output",), ("output",)),
    "output_video": Kind("output", ("output",), ("output",)),
    "reasoning": Kind("output", ("output",), ("output",)),
    "citation": Kind("output", ("output",), ("output",)),
    "web_search": Kind("other"),
    "request": Kind("other"),
}

Rate = tuple[tuple[int, Decimal], ...]
"""Price per million by the size of the prompt: (tokens that it must exceed, price), the highest first, -1 the last."""


def flat(price: Decimal) -> Rate:
    """A rate that is the same for prompts of every size."""
    return ((-1, price),)


class ContradictionError(ValueError):
    """The counts of a call cannot be: a part is more than its whole, or is no count at all."""


@dataclass(frozen=True, slots=True)
class Rates:
    """The prices of a model per million of each kind that it has a price for.

    Attributes:
        own: the kinds with a price of their own.
        used: every kind that can be charged, with the price that it costs and whether that is no guess.
    """

    own: Mapping[str, Rate]
    used: Mapping[str, tuple[Rate, bool]] = field(init=False)

    def __post_init__(self) -> None:
        used: dict[str, tuple[Rate, bool]] = {}
        for name, kind in KINDS.items():
            priced = next((other for other in (name, *kind.stand_ins) if other in self.own), None)
            if priced is not None:
                used[name] = (self.own[priced], priced == name or priced in kind.as_good)
        object.__setattr__(self, "used", used)


class Charge(NamedTuple):
    """What the tokens of a call come to.

    Attributes:
        total: the rounded sum.
        parts: the amounts by `PARTS`, which add up to the total; None where the tokens are not known.
        is_exact: whether every kind was charged at its own price, and no count was a guess.
    """

    total: Decimal
    parts: Mapping[str, Decimal | None]
    is_exact: bool


@dataclass(slots=True)
class _Counts:
    """The tokens of a call by disjoint kinds. `guessed`: kinds whose count is not said, but assumed."""

    by_kind: dict[str, int]
    guessed: set[str] = field(default_factory=set)


def _whole(details: TokenDetails | None, key: str) -> int | None:
    """A further key of the details; None where it is absent."""
    value: Any = None if details is None else (details.__pydantic_extra__ or {}).get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0 or value != int(value):
        raise ContradictionError(f"{key} is {value!r:.40}, which is no count")
    return int(value)


def _cut_prompt(call: LLMApiCall) -> _Counts:
    details = call.prompt_tokens_details
    if details is None:
        return _Counts({"input": call.prompt_tokens, "cached": 0, "cache_write": 0})
    cached, written = details.cached_tokens or 0, details.cache_write_tokens or 0
    if not details.__pydantic_extra__ and not details.audio_tokens:  # most calls
        return _Counts({"input": call.prompt_tokens - cached - written, "cached": cached, "cache_write": written})
    counts = _Counts(dict(_writes(details)))
    text = call.prompt_tokens - sum(counts.by_kind.values())
    modal = {"audio": details.audio_tokens, **{name: _whole(details, f"{name}_tokens") for name in ("image", "video")}}
    text -= sum(count or 0 for count in modal.values())
    for name, count in modal.items():
        if not count:
            continue
        kind = f"cached_{name}" if name != "video" else "cached"
        seen = _whole(details, f"cached_{name}_tokens")
        if seen is None and cached:
            # Nobody says which of the cached tokens they were: text first, as most prompts begin with it.
            seen = min(count, max(0, cached - max(text, 0)))
            counts.guessed.add(f"input_{name}")
        counts.by_kind[f"input_{name}"] = count - (seen or 0)
        counts.by_kind[kind] = counts.by_kind.get(kind, 0) + (seen or 0)
        cached -= seen or 0
    counts.by_kind["cached"] = counts.by_kind.get("cached", 0) + cached
    counts.by_kind["input"] = text - cached
    return counts


def _writes(details: TokenDetails) -> Iterator[tuple[str, int]]:
    """What was written to the cache by lifetime. Without one it is that of five minutes, which is the default."""
    said = {
        lifetime[1]: _whole(details, key) or 0
        for key in details.__pydantic_extra__ or {}
        if (lifetime := _LIFETIME.fullmatch(key))
    }
    hour, standard = said.pop("1h", 0), sum(said.pop(lifetime, 0) for lifetime in _STANDARD)
    other = sum(said.values())
    written = max(details.cache_write_tokens or 0, standard + hour + other)
    yield "cache_write", written - hour - other
    yield "cache_write_1h", hour
    yield "cache_write_other", other


def _cut_completion(call: LLMApiCall, rates: Rates) -> _Counts:
    details = call.completion_tokens_details
    if details is None:
        return _Counts({"output": call.completion_tokens})
    found = {
        "output_audio": details.audio_tokens,
        "output_image": _whole(details, "image_tokens"),
        "output_video": _whole(details, "video_tokens"),
        "reasoning": details.reasoning_tokens,
        "citation": _whole(details, "citation_tokens"),
    }
    # Reasoning may be in words or in sounds. Where it costs what the rest costs, it need not be told apart.
    counts = {
        kind: count for kind, count in found.items() if count and (kind.startswith("output_") or kind in rates.own)
    }
    return _Counts({**counts, "output": call.completion_tokens - sum(counts.values())})


def _web_searches(call: LLMApiCall) -> int:
    said = call.labels.get("web_search_requests")
    return int(said) if said and said.isascii() and said.isdigit() and len(said) < 10 else 0


def _counts_of(call: LLMApiCall, rates: Rates) -> list[_Counts]:
    """The counts that are known: those of the prompt, those of the completion, and what else is charged for."""
    known = [_Counts({"web_search": _web_searches(call), "request": 1})]
    counted = call.token_source
    if counted != "completion_only":
        known.append(_cut_prompt(call))
    if counted != "partial":
        known.append(_cut_completion(call, rates))
    for side in known:
        if min(side.by_kind.values()) < 0:
            raise ContradictionError("the parts of its tokens are more than the whole")
    return known


def charge(call: LLMApiCall, rates: Rates) -> Charge | None:
    """What a call costs at these rates; None where tokens that it used have no price.

    Raises:
        ContradictionError: its counts cannot be.
    """
    counted = call.token_source
    is_exact = counted == "provider"
    size = 0 if counted in PROMPT_UNKNOWN else call.prompt_tokens
    amounts: dict[str, Decimal] = {"other": Decimal(0)}
    with localcontext(EXACT):
        for side in _counts_of(call, rates):
            for kind, count in side.by_kind.items():
                part = KINDS[kind].part
                if not count:
                    amounts.setdefault(part, Decimal(0))
                elif kind in rates.used:
                    rate, is_no_guess = rates.used[kind]
                    is_exact = is_exact and is_no_guess and not (kind in side.guessed and kind in rates.own)
                    amounts[part] = amounts.get(part, 0) + count * _price(rate, size)
                elif part != "other":
                    return None
                else:  # few models charge for a request; searches are not free because a book is silent about them
                    is_exact = is_exact and kind == "request"
        return _round(amounts, is_exact)


def _price(rate: Rate, prompt_tokens: int) -> Decimal:
    for threshold, price in rate:
        if prompt_tokens > threshold:
            return price
    raise AssertionError("the last threshold is -1")


def _round(amounts: Mapping[str, Decimal], is_exact: bool) -> Charge:
    """The amounts, which are in millionths, as money."""
    total = (sum(amounts.values(), Decimal(0)) * _PER_MILLION).quantize(_PLACES)
    # In the order of `PARTS`: of equal ones the first is the largest, however the tokens were told apart.
    parts = {part: (amounts[part] * _PER_MILLION).quantize(_PLACES, ROUND_DOWN) for part in PARTS if part in amounts}
    parts[max(parts, key=lambda part: parts[part])] += total - sum(parts.values())
    return Charge(total, {part: parts.get(part) for part in PARTS}, is_exact)
