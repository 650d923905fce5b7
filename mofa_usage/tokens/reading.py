"""From what a row says to inclusive counts: which tokens its counts hold, and who decides that.

A reading answers two questions about a usage: does the prompt count hold the cached tokens, and the completion count
the reasoning ones? A row is evidence where only one answer fits it: its total is the sum of one reading and not of the
other, or it has more cached tokens than prompt tokens, which only a count without them can. `Readings` collects the
evidence of a file and decides once per set of names, by the majority of the rows that can; where none can, the
convention of the names decides.

One more thing happens: a total that leaves out what the prompt count leaves out (Vercel's AI SDK 5 with Anthropic:
3 in, 159 out, 162 in all, and 22,137 cached). It explains itself where there are more cached tokens than prompt tokens,
or where the caller said that counts are exclusive; then it is no contradiction.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, cast, get_args

from mofa_usage.errors import UsageError
from mofa_usage.tokens.finding import ReportedUsage, find_usage
from mofa_usage.values import COMPLETION_UNKNOWN, PROMPT_UNKNOWN, TokenSource, token_source_of

__all__ = [
    "Evidence",
    "Reading",
    "Readings",
    "TokenCounts",
    "TokenSource",
    "TokensOption",
    "count_tokens",
    "evidence_of",
    "read_tokens",
]

TokensOption = Literal["auto", "inclusive", "exclusive"]
Evidence = Literal["inclusive", "exclusive", "nothing", "contradiction"]


class Reading(NamedTuple):
    """How a usage is read.

    Attributes:
        holds_cached: whether the prompt count holds the tokens read from and written to a cache.
        holds_reasoning: whether the completion count holds the reasoning tokens.
        is_asked_for: whether the caller said so; then a total may leave out what the counts leave out.
    """

    holds_cached: bool
    holds_reasoning: bool
    is_asked_for: bool = False


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """Inclusive counts; None is unknown, and not 0.

    Attributes:
        prompt_tokens, completion_tokens: cached tokens are in the first, reasoning tokens in the second.
        total_tokens: their sum; where one is unknown or the row contradicts itself, what the row says.
        prompt_details, completion_details: which part of a count was of a kind, by the keys of `TokenDetails` and
            further ones (`cache_write_5m_tokens`, `image_tokens`, ...); only what the row says, no `token_source`.
        token_source: how the counts came about: `provider`, `estimated`, `partial` (only the prompt is known),
            `completion_only` or `none`.
        terms: what prices follow besides counts, as it is: `service_tier`, `inference_geo`, `speed`,
            `web_search_requests`, `web_fetch_requests`.
        contradiction: why the row contradicts itself, or the way in which it is read; None when it does not. With one,
            counts are as the row says, and parts that exceed their whole are left out.
        contradiction_kind: the same without the row's numbers.
    """

    prompt_tokens: int | None
    completion_tokens: int | None
    total_tokens: int | None
    prompt_details: Mapping[str, Any]
    completion_details: Mapping[str, Any]
    token_source: TokenSource
    terms: Mapping[str, Any]
    contradiction: str | None = None
    contradiction_kind: str | None = None


_NOTHING_KNOWN = TokenCounts(None, None, None, {}, {}, "none", {})
_ALL_READINGS = tuple(Reading(cached, reasoning) for cached in (True, False) for reasoning in (True, False))


def _sums(usage: ReportedUsage, reading: Reading) -> tuple[int | None, int | None]:
    """The inclusive prompt and completion counts under a reading, where the row says them."""
    prompt, completion = usage.prompt, usage.completion
    if prompt is not None and not reading.holds_cached:
        prompt += _cache(usage)
    if not reading.holds_reasoning and (completion is not None or usage.reasoning is not None):
        # Gemini leaves out a count that is 0: a model that only thought has thoughts and no candidates.
        completion = (completion or 0) + (usage.reasoning or 0)
    return prompt, completion


def _cache(usage: ReportedUsage) -> int:
    return (usage.cached or 0) + (usage.written or 0)


def _exceeds_prompt(usage: ReportedUsage) -> bool:
    return usage.prompt is not None and _cache(usage) > usage.prompt


def _exceeds_completion(usage: ReportedUsage) -> bool:
    return usage.completion is not None and (usage.reasoning or 0) > usage.completion


def _fits(usage: ReportedUsage, reading: Reading) -> bool:
    """Whether parts are within their counts, and the total is what it must be."""
    if (reading.holds_cached and _exceeds_prompt(usage)) or (reading.holds_reasoning and _exceeds_completion(usage)):
        return False
    prompt, completion = _sums(usage, reading)
    if usage.total is None or (prompt is None and completion is None):
        return True
    if prompt is None or completion is None:
        return usage.total >= (prompt or 0) + (completion or 0)
    return usage.total == prompt + completion


def _explains_itself(usage: ReportedUsage, reading: Reading) -> bool:
    """Whether the total leaves out what the counts leave out, and must: see the top of this module."""
    if usage.prompt is None or usage.completion is None:
        return False
    is_without_cached = not reading.holds_cached and (reading.is_asked_for or _exceeds_prompt(usage))
    is_without_reasoning = not reading.holds_reasoning and _exceeds_completion(usage)
    if not (is_without_cached or is_without_reasoning):
        return False
    if (reading.holds_cached and _exceeds_prompt(usage)) or (reading.holds_reasoning and _exceeds_completion(usage)):
        return False
    prompt, completion = _sums(usage, reading)
    return usage.total in {
        (usage.prompt if is_without_cached else prompt or 0) + count
        for count in ((usage.completion, completion or 0) if is_without_reasoning else (completion or 0,))
    }


def _possible(usage: ReportedUsage) -> list[Reading]:
    fitting = [reading for reading in _ALL_READINGS if _fits(usage, reading)]
    return fitting or [reading for reading in _ALL_READINGS if _explains_itself(usage, reading)]


def evidence_of(usage: ReportedUsage) -> Evidence:
    """What one row says about its prompt count: `inclusive` or `exclusive` of the cached tokens, or nothing.

    `contradiction`: no reading fits the row.
    """
    return _evidence({reading.holds_cached for reading in _possible(usage)} if _cache(usage) else None, usage)


def _evidence(answers: set[bool] | None, usage: ReportedUsage) -> Evidence:
    if answers is None:
        return "nothing" if _possible(usage) else "contradiction"
    if not answers:
        return "contradiction"
    if len(answers) == 2:
        return "nothing"
    return "inclusive" if True in answers else "exclusive"


@dataclass(slots=True)
class _Votes:
    """What the rows of one set of names say about one question."""

    name: str  # of the count, as the first row has it
    owner: str
    default: bool
    answers: Counter[bool] = field(default_factory=Counter)

    def decided(self) -> bool:
        if self.answers[True] == self.answers[False]:
            return self.default
        return self.answers[True] > self.answers[False]


class Readings:
    """How the usages of one file are read: decided once per set of names.

    Add the usages of all rows first where that is possible, and read them afterwards; what is read earlier is read by
    what was added so far.

    Args:
        tokens: "auto" decides as the module says; "inclusive" and "exclusive" say whether prompt counts hold the cached
            tokens, whatever the rows say. Rows that cannot be read so are contradictions.

    Raises:
        UsageError: `tokens` is none of the three.
    """

    def __init__(self, tokens: TokensOption = "auto") -> None:
        if tokens not in get_args(TokensOption):
            raise UsageError(f'tokens must be "auto", "inclusive" or "exclusive", not {tokens!r}')
        self._tokens = tokens
        self._cached: dict[tuple[str, ...], _Votes] = {}
        self._reasoning: dict[tuple[str, ...], _Votes] = {}

    def add(self, usage: ReportedUsage) -> None:
        """Count what a row is evidence for."""
        has_cache, has_reasoning = _cache(usage) > 0, (usage.reasoning or 0) > 0
        if not (has_cache or has_reasoning):
            return
        possible = _possible(usage)
        convention = usage.convention
        if has_cache and usage.prompt is not None:
            name = usage.names["prompt_tokens"]
            votes = self._cached.setdefault(usage.prompt_key, _Votes(name, convention.owner, convention.holds_cached))
            _vote(votes, {reading.holds_cached for reading in possible})
        if has_reasoning and usage.completion is not None:
            name = usage.names["completion_tokens"]
            votes = self._reasoning.setdefault(
                usage.completion_key, _Votes(name, convention.owner, convention.holds_reasoning)
            )
            _vote(votes, {reading.holds_reasoning for reading in possible})

    def of(self, usage: ReportedUsage) -> Reading:
        """How to read a usage."""
        reasoning = self._reasoning.get(usage.completion_key)
        holds_reasoning = usage.convention.holds_reasoning if reasoning is None else reasoning.decided()
        if self._tokens != "auto":
            return Reading(self._tokens == "inclusive", holds_reasoning, is_asked_for=True)
        cached = self._cached.get(usage.prompt_key)
        return Reading(usage.convention.holds_cached if cached is None else cached.decided(), holds_reasoning)

    def sentences(self) -> tuple[str, ...]:
        """How tokens were read, for a summary: one sentence per set of names that could be read two ways.

        `input_tokens read as exclusive of cached ones (decided by 12 rows)`
        """
        said = [self._cached_sentence(votes) for votes in self._cached.values()]
        said += [
            f"{votes.name} read as {_word(votes.decided())} of reasoning ones ({_by_rows(votes)})"
            for votes in self._reasoning.values()
            if votes.decided() != votes.default
        ]
        return tuple(dict.fromkeys(said))

    def _cached_sentence(self, votes: _Votes) -> str:
        if self._tokens != "auto":
            return f"{votes.name} read as {self._tokens} of cached ones (as asked for)"
        if votes.answers[True] != votes.answers[False]:
            why = _by_rows(votes)
        else:
            undecided = "no row decides" if not votes.answers else f"{votes.answers[True]:,} rows say each"
            why = f"{undecided}: {votes.owner} names mean that"
        return f"{votes.name} read as {_word(votes.decided())} of cached ones ({why})"


def _vote(votes: _Votes, answers: set[bool]) -> None:
    if len(answers) == 1:
        votes.answers.update(answers)


def _word(holds: bool) -> str:
    return "inclusive" if holds else "exclusive"


def _by_rows(votes: _Votes) -> str:
    deciding, against = votes.answers[votes.decided()], votes.answers[not votes.decided()]
    rows = f"decided by {deciding:,} row{'' if deciding == 1 else 's'}"
    return f"{rows}, {against:,} contradict{'s' if against == 1 else ''}" if against else rows


def count_tokens(usage: ReportedUsage, reading: Reading, *, estimated: bool = False) -> TokenCounts:
    """The inclusive counts of a usage under a reading. A count that is missing is the total less the other.

    Args:
        usage: what the row says.
        reading: which tokens its counts hold.
        estimated: the counts were not said by the provider but estimated.
    """
    prompt, completion = _sums(usage, reading)
    total = usage.total
    kind, reason = _contradiction(usage, reading) or (None, None)
    if kind is None and total is not None:
        if completion is None and prompt is not None:
            completion = total - prompt
        elif prompt is None and completion is not None:
            prompt = total - completion
    source = _source(usage.source, prompt, completion, estimated)
    if source in PROMPT_UNKNOWN:
        prompt = None
    if source in COMPLETION_UNKNOWN:
        completion = None
    if usage.source in ("none", "partial", "completion_only"):
        total = None  # a table without room for unknown has 0 there
    if kind is None and prompt is not None and completion is not None:
        total = prompt + completion
    prompt_parts, prompt_excess = _within(usage.prompt_parts, prompt)
    completion_parts, completion_excess = _within(usage.completion_parts, completion)
    if kind is None and (excess := prompt_excess or completion_excess):
        whole = "prompt_tokens" if prompt_excess else "completion_tokens"
        kind = f"{excess} exceed {whole}"
        reason = f"{excess} {(usage.prompt_parts if prompt_excess else usage.completion_parts)[excess]} exceed " + (
            f"{whole} {prompt if prompt_excess else completion}"
        )
    return TokenCounts(prompt, completion, total, prompt_parts, completion_parts, source, usage.terms, reason, kind)


def _contradiction(usage: ReportedUsage, reading: Reading) -> tuple[str, str] | None:
    """Why a row cannot be read so: the kind and the sentence; None when it can."""
    if _fits(usage, reading) or _explains_itself(usage, reading):
        return None
    prompt, completion = _sums(usage, reading)
    said = f"prompt {prompt if prompt is not None else 'unknown'}, " + (
        f"completion {completion if completion is not None else 'unknown'}"
    )
    if reading.holds_cached and _exceeds_prompt(usage):
        kind = "cached tokens exceed the prompt tokens that are read as inclusive of them"
        return kind, f"{kind}: {_cache(usage)} of {usage.prompt}"
    if reading.holds_reasoning and _exceeds_completion(usage):
        kind = "reasoning tokens exceed the completion tokens that are read as inclusive of them"
        return kind, f"{kind}: {usage.reasoning} of {usage.completion}"
    kind = "total_tokens contradicts the prompt and completion tokens"
    others = {other.holds_cached for other in _possible(usage)}
    if others == {not reading.holds_cached} and _cache(usage):
        kind = f"total_tokens says that the prompt tokens are {_word(not reading.holds_cached)} of cached ones"
        kind += f", and they are read as {_word(reading.holds_cached)}"
    return kind, f"{kind}: {said}, total {usage.total}"


def _source(said: str | None, prompt: int | None, completion: int | None, estimated: bool) -> TokenSource:
    if said in ("none", "partial", "completion_only"):
        return cast(TokenSource, said)
    source = token_source_of(prompt, completion)
    return "estimated" if source == "provider" and (estimated or said == "estimated") else source


def _within(parts: Mapping[str, Any], whole: int | None) -> tuple[Mapping[str, Any], str | None]:
    """The parts that are not larger than their whole, and the first that is. Unknown wholes have room for all."""
    if whole is None:
        return parts, None
    excess = sorted(key for key, part in parts.items() if isinstance(part, int) and part > whole)
    if not excess:
        return parts, None
    return {key: part for key, part in parts.items() if key not in excess}, excess[0]


def read_tokens(row: Mapping[str, Any], *, estimated: bool = False) -> TokenCounts:
    """The counts of one usage that stands alone, by its own evidence, else by the convention of its names.

    `row` is what `find_usage` takes: a provider's answer as a mapping, or its usage. Without one, all is unknown.

    Raises:
        TokenValueError: a count is no whole number of at least 0.
    """
    usage = find_usage(row)
    if usage is None:
        return _NOTHING_KNOWN
    readings = Readings()
    readings.add(usage)
    return count_tokens(usage, readings.of(usage), estimated=estimated)
