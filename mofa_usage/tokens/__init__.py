"""API skeleton: tokens of any provider or tool, as inclusive counts. (The real docstring follows with the code.)

```python
readings = Readings("auto")            # one per file; "inclusive" or "exclusive" overrides
for row in rows:                       # first pass (or a first part of the file)
    usage = find_usage(row, mapping)   # None: the row says nothing about tokens
    if usage is not None:
        readings.add(usage)            # what the row is evidence for
for row in rows:                       # second pass
    counts = count_tokens(usage, readings.of(usage))
    if counts.contradiction is not None: ...   # refuse, unless contradictions="keep": the counts are as the row says
readings.sentences()                   # for the summary
read_tokens(response.model_dump())     # one usage on its own: the recorder
```
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

TokenSource = Literal["provider", "estimated", "partial", "completion_only", "none"]
TokensOption = Literal["auto", "inclusive", "exclusive"]


class TokenValueError(ValueError):
    """A count that is none. `name` is the source's name, `kind` the reason without the value, str() the sentence."""

    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """Inclusive counts. None is unknown.

    `prompt_details` / `completion_details`: keys as in `TokenDetails` (cached_tokens, cache_write_tokens,
    audio_tokens, cache_write_5m_tokens, reasoning_tokens, ...), without unknown ones and without token_source.
    `terms`: what prices follow besides counts (service_tier, server_tool_use, inference_geo, speed).
    `contradiction`: a sentence without the row's own numbers being lost ("total_tokens is 58291, not ..."), or None;
    with one, the counts are as the row says (total as stated; parts that exceed their whole are left out).
    """

    prompt_tokens: int | None
    completion_tokens: int | None
    total_tokens: int | None
    prompt_details: Mapping[str, Any]
    completion_details: Mapping[str, Any]
    token_source: TokenSource
    terms: Mapping[str, Any]
    contradiction: str | None


class ReportedUsage:
    """What a row says, found and not yet interpreted. `names`: target -> the source's name (path), for "used" columns."""

    names: Mapping[str, str]


class Reading(NamedTuple):
    """Whether the prompt count holds the cached tokens, and the completion count the reasoning ones."""

    holds_cached: bool
    holds_reasoning: bool


Evidence = Literal["inclusive", "exclusive", "nothing", "contradiction"]


def find_usage(row: Mapping[str, Any], mapping: Mapping[str, str | None] | None = None) -> ReportedUsage | None:
    """The usage inside a row (nested or flat names); `mapping` is import's: target -> column, None leaves out.

    Raises TokenValueError.
    """
    raise NotImplementedError


def token_columns(columns: Iterable[str]) -> dict[str, str]:
    """column -> target (`prompt_tokens`, `prompt_tokens_details.cached_tokens`, ...) of the columns understood."""
    raise NotImplementedError


def evidence_of(usage: ReportedUsage) -> Evidence:
    """What one row says about whether the prompt count holds the cached tokens."""
    raise NotImplementedError


class Readings:
    """How the usages of one file are read: decided once per set of names."""

    def __init__(self, tokens: TokensOption = "auto") -> None: ...

    def add(self, usage: ReportedUsage) -> None:
        """Count what the row is evidence for."""

    def of(self, usage: ReportedUsage) -> Reading:
        """How to read it, by what was added so far."""
        raise NotImplementedError

    def sentences(self) -> tuple[str, ...]:
        """For the summary: "input_tokens read as exclusive of cached ones (decided by 12 rows)"."""
        raise NotImplementedError


def count_tokens(usage: ReportedUsage, reading: Reading, *, estimated: bool = False) -> TokenCounts:
    """The inclusive counts."""
    raise NotImplementedError


def read_tokens(row: Mapping[str, Any], *, estimated: bool = False) -> TokenCounts:
    """The counts of one usage by its own evidence, else by the default of its names; all None where there is none."""
    raise NotImplementedError
