"""What the counts are called, and what each set of names means.

A name is first made plain: `promptTokenCount`, `Prompt Token Count` and `prompt_token_count` are one, and a path into
nested JSON is one name with underscores. What stands before a usage (`message.usage.`, `attributes.gen_ai.usage.`) is
its *place*; only counts of one place are ever read together. The rest is looked up in one table, whose values are
fields of a call: `prompt_tokens`, `prompt_tokens_details.cached_tokens`, ...

Which tokens a count holds does not follow from one name but from the set. `Convention` says what a set means where the
rows do not decide it themselves:

| names | the prompt count holds the cached tokens | whose names they are |
|---|---|---|
| `prompt_tokens` with anything | yes | OpenAI chat, LiteLLM, Mistral, DeepSeek, our own |
| anything with `..._tokens_details` | yes | OpenAI responses, LangChain, Vercel AI SDK 6 |
| `promptTokenCount`, `cachedContentTokenCount` | yes; thoughts are beside `candidatesTokenCount` | Gemini |
| `gen_ai.usage.*`, `llm.token_count.*` | yes | OpenTelemetry, OpenInference: their texts say so |
| `input_tokens`, `cached_input_tokens` | yes | Codex, Vercel AI SDK 5 (its Anthropic calls differ: the rows decide) |
| `input_tokens`, `cache_read_tokens`, `cache_write_tokens` | yes | pydantic-ai, genai-prices |
| `input_tokens`, `cache_{read,creation,write}_input_tokens` | no | Anthropic, Bedrock Converse, Claude's session logs |
| `input_tokens`, `cache_read_tokens`, `cache_creation_tokens` | no | Claude Code's events, ccusage |
| `tokens_in`, `cache_reads`, `cache_writes` | no | Cline |
| `uncached_input_tokens` | no | Anthropic's usage report |
| `input`, `output` inside a usage | no; reasoning tokens are beside `output` | Langfuse's details, opencode |

So `input_tokens` 5000 with `cache_read_input_tokens` 4000 and `cache_creation_input_tokens` 500 is a prompt of 9500,
where no row of the file says otherwise.
"""

import re
from collections.abc import Iterable, Set
from functools import lru_cache
from typing import NamedTuple

__all__ = [
    "COMPLETION",
    "PROMPT",
    "Convention",
    "Name",
    "classify",
    "convention_of",
    "details_of",
    "holds_counts",
    "leads_to_counts",
    "place_rank",
    "plain_name",
]

PROMPT, COMPLETION = "prompt_tokens_details.", "completion_tokens_details."

# The first name of a field that has a value counts: of two that say the same, the one that says it better is first.
_TOTALS = {
    "prompt_tokens": (
        "prompt_tokens input_tokens uncached_input_tokens prompt_token_count input_token_count input_input_token_count "
        "prompt_eval_count native_tokens_prompt input_tokens_total context_tokens tokens_in in_tokens "
        "num_input_tokens num_prompt_tokens n_input_tokens n_prompt_tokens"
    ),
    "completion_tokens": (
        "completion_tokens output_tokens candidates_token_count response_token_count completion_token_count "
        "output_token_count output_output_token_count eval_count native_tokens_completion "
        "output_tokens_total generated_tokens tokens_out out_tokens "
        "num_output_tokens num_completion_tokens n_output_tokens n_completion_tokens"
    ),
    "total_tokens": "total_tokens total_token_count num_total_tokens n_total_tokens",
}
_PARTS = {
    PROMPT + "cached_tokens": (
        "cached_tokens cache_read_input_tokens cached_input_tokens input_cached_tokens cache_read_tokens "
        "cached_content_token_count cache_read_input_token_count input_cache_read_input_token_count "
        "prompt_cache_hit_tokens num_cached_tokens native_tokens_cached input_tokens_cache_read "
        "prompt_cached_tokens prompt_cache_read_tokens cache_reads"
    ),
    PROMPT + "cache_write_tokens": (
        "cache_write_tokens cache_write_input_tokens cache_creation_input_tokens cache_creation_tokens "
        "cache_write_input_token_count input_cache_write_input_token_count input_tokens_cache_write "
        "prompt_cache_creation_tokens prompt_cache_write_tokens cache_writes"
    ),
    PROMPT + "cache_write_5m_tokens": (
        "cache_write_5m_tokens ephemeral_5m_input_tokens cache_creation_ephemeral_5m_input_tokens"
    ),
    PROMPT + "cache_write_1h_tokens": (
        "cache_write_1h_tokens ephemeral_1h_input_tokens cache_creation_ephemeral_1h_input_tokens"
    ),
    PROMPT + "tool_use_tokens": "tool_use_prompt_token_count",
    PROMPT + "audio_tokens": "prompt_audio_tokens input_audio_tokens audio_input_tokens",
    PROMPT + "image_tokens": "prompt_image_tokens input_image_tokens image_input_tokens",
    PROMPT + "text_tokens": "prompt_text_tokens input_text_tokens text_input_tokens",
    PROMPT + "cached_audio_tokens": "audio_cache_read_input_tokens",
    PROMPT + "cached_image_tokens": "image_cache_read_input_tokens",
    PROMPT + "cached_text_tokens": "text_cache_read_input_tokens",
    COMPLETION + "reasoning_tokens": (
        "reasoning_tokens reasoning_output_tokens output_reasoning_tokens thinking_tokens thoughts_token_count "
        "native_tokens_reasoning output_tokens_reasoning "
        "completion_reasoning_tokens"
    ),
    COMPLETION + "audio_tokens": "completion_audio_tokens output_audio_tokens audio_output_tokens",
    COMPLETION + "image_tokens": "completion_image_tokens output_image_tokens image_output_tokens",
    COMPLETION + "text_tokens": "completion_text_tokens output_text_tokens text_output_tokens output_tokens_text",
    COMPLETION + "accepted_prediction_tokens": "accepted_prediction_tokens",
    COMPLETION + "rejected_prediction_tokens": "rejected_prediction_tokens",
    COMPLETION + "token_source": "token_source",
}
# These words mean a count inside a usage only: a column `input` holds the question.
_SHORT = {
    "prompt_tokens": "input prompt",
    "completion_tokens": "output completion",
    "total_tokens": "total",
    PROMPT + "cached_tokens": "cache_read cached input_cache_read",
    PROMPT + "cache_write_tokens": "cache_write cache_creation input_cache_creation input_cache_write",
    PROMPT + "cache_write_5m_tokens": "input_ephemeral_5m_input_tokens",
    PROMPT + "cache_write_1h_tokens": "input_ephemeral_1h_input_tokens",
    PROMPT + "audio_tokens": "input_audio",
    COMPLETION + "reasoning_tokens": "reasoning output_reasoning",
    COMPLETION + "audio_tokens": "output_audio",
}
# The keys of the details of a count, after `prompt_tokens_details`, `input_token_details`, `prompt_details`, ...
_PROMPT_KEYS = {
    "cached_tokens": "cached_tokens cache_read cache_read_tokens cache_read_input_tokens cache_input cached",
    "cache_write_tokens": (
        "cache_write_tokens cache_creation cache_creation_tokens cache_creation_input_tokens cache_write"
    ),
    "cache_write_5m_tokens": (
        "cache_write_5m_tokens ephemeral_5m_input_tokens cache_creation_token_details_ephemeral_5m_input_tokens"
    ),
    "cache_write_1h_tokens": (
        "cache_write_1h_tokens ephemeral_1h_input_tokens cache_creation_token_details_ephemeral_1h_input_tokens"
    ),
    "cache_write_30m_tokens": "cache_write_30m_tokens cache_write_tokens_details_ttl_30m_tokens",
    "cache_write_12h_tokens": "cache_write_12h_tokens cache_write_tokens_details_ttl_12h_tokens",
    "audio_tokens": "audio_tokens audio",
    "image_tokens": "image_tokens image",
    "text_tokens": "text_tokens text",
    "cached_audio_tokens": "cached_audio_tokens cached_tokens_details_audio_tokens",
    "cached_image_tokens": "cached_image_tokens cached_tokens_details_image_tokens",
    "cached_text_tokens": "cached_text_tokens cached_tokens_details_text_tokens",
}
_COMPLETION_KEYS = {
    "reasoning_tokens": "reasoning_tokens reasoning thinking_tokens",
    "audio_tokens": "audio_tokens audio",
    "image_tokens": "image_tokens image",
    "text_tokens": "text_tokens text",
    "accepted_prediction_tokens": "accepted_prediction_tokens",
    "rejected_prediction_tokens": "rejected_prediction_tokens",
}
_TERMS = {
    **{name: name for name in ("service_tier", "inference_geo", "speed")},
    "server_tool_use_web_search_requests": "web_search_requests",
    "server_tool_use_web_fetch_requests": "web_fetch_requests",
}
"""What prices follow besides counts. Kept as it is, from inside a usage."""


def _by_name(table: dict[str, str]) -> dict[str, tuple[str, int]]:
    """name -> its field and its rank among the names of that field."""
    return {name: (field, rank) for field, names in table.items() for rank, name in enumerate(names.split())}


_FIELDS = _by_name({**_TOTALS, **_PARTS})
_FIELDS_INSIDE = _by_name(_SHORT)
_KEYS = {
    PROMPT: _by_name({PROMPT + key: names for key, names in _PROMPT_KEYS.items()}),
    COMPLETION: _by_name({COMPLETION + key: names for key, names in _COMPLETION_KEYS.items()}),
}
_WRAPPERS = (
    "attributes span_attributes message response body result payload info llm_output response_metadata kwargs meta "
    "metadata extra data event chunk delta generation_info metrics x_groq"
)
_USAGES = (
    "gen_ai_usage anthropic_usage openai_usage llm_usage llm_token_count ai_usage usage_metadata usage_object "
    "usage_details mlflow_chat_token_usage token_usage last_token_usage usage token_counts tokens"
)
# The start of every name that has more than one word: what a nested object can be called that leads to counts.
_STARTS = {
    "_".join(words[:length])
    for words in (name.split("_") for name in {*_FIELDS, *_KEYS[PROMPT], *_KEYS[COMPLETION], *_TERMS, *_USAGES.split()})
    for length in range(1, len(words))
} | {"prompt", "completion", "cache"}
_OPENTELEMETRY = {"gen_ai_usage", "anthropic_usage", "openai_usage", "llm_usage"}
# Of two places that say as much, the one that is named first here counts. "" is the row itself.
_PLACES = ["", *_USAGES.split()]

_WRAPPER = re.compile(rf"(?:{'|'.join(sorted(_WRAPPERS.split(), key=len, reverse=True))})(?:_|$)")
_USAGE = re.compile(rf"({'|'.join(sorted(_USAGES.split(), key=len, reverse=True))})(?:_|$)")
_DETAILS = re.compile(
    r"(?:(?P<prompt>(?:prompt|input)(?:_tokens?)?)|(?P<completion>(?:completion|output|candidates)(?:_tokens?)?))"
    r"_details(?:_(?P<key>.+))?"
)
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[a-z])(?=[0-9])")
_GAP = re.compile(r"[^a-z0-9]+")


class Name(NamedTuple):
    """What one name of a source is.

    Attributes:
        field: the field of a call, or `terms.KEY`.
        place: before which usage it stands; names of different places are not read together.
        plain: the name without its place.
        rank: the lower one counts, of several for the same field.
        is_known: whether it is in our tables; else it is a further key of the details, and kept as it is.
    """

    field: str
    place: str
    plain: str
    rank: int
    is_known: bool = True


class Convention(NamedTuple):
    """What a set of names means where no row decides it.

    Attributes:
        owner: whose names they are.
        holds_cached: whether the prompt count holds the tokens read from and written to a cache.
        holds_reasoning: whether the completion count holds the reasoning tokens.
    """

    owner: str
    holds_cached: bool = True
    holds_reasoning: bool = True


def place_rank(place: str) -> tuple[int, str]:
    """Sorts places: the row's own columns first."""
    usage = place.rpartition("/")[2]
    return (_PLACES.index(usage) if usage in _PLACES else len(_PLACES), place)


@lru_cache(maxsize=8192)
def plain_name(name: str) -> str:
    """`gen_ai.usage.inputTokens` as `gen_ai_usage_input_tokens`."""
    return _GAP.sub("_", _HUMP.sub("_", name).lower()).strip("_")


def _split(plain: str) -> tuple[str, str, str]:
    """A plain name as what wraps its usage, the usage and the rest; the first two may be empty."""
    start = 0
    while match := _WRAPPER.match(plain, start):
        start = match.end()
    wrapper = plain[:start].strip("_")
    usage = ""
    while match := _USAGE.match(plain, start):
        # Cohere: `usage.tokens.input_tokens`. The usage is the outer one, `billed_units` beside it is no count.
        usage, start = usage or match.group(1), match.end()
    return wrapper, usage, plain[start:]


@lru_cache(maxsize=8192)
def classify(path: str) -> Name | None:
    """What the name or dotted path `path` is; None when it is no count that we know."""
    plain = plain_name(path)
    if found := _look_up(plain, "", path):
        return found
    wrapper, usage, rest = _split(plain)
    if wrapper == "metrics" and rest in _FIELDS:
        return _look_up(rest, wrapper, path)
    if not usage or not rest:
        return None
    if usage == "usage_details" and "usage.details." in path:
        usage, rest = "usage", f"details_{rest}"  # pydantic-ai's; Langfuse's counts are in `usageDetails`
    place = "gen_ai_usage" if usage in _OPENTELEMETRY else usage
    return _look_up(rest, f"{wrapper}/{place}" if wrapper and place != "gen_ai_usage" else place, path)


def _look_up(plain: str, place: str, path: str) -> Name | None:
    if plain in _FIELDS:
        return Name(_FIELDS[plain][0], place, plain, 1000 + _FIELDS[plain][1])
    if place and plain in _FIELDS_INSIDE:
        return Name(_FIELDS_INSIDE[plain][0], place, plain, 2000 + _FIELDS_INSIDE[plain][1])
    said = plain.removeprefix("details_")
    if place and said != plain and _FIELDS.get(said, ("", 0))[0].startswith((PROMPT, COMPLETION)):
        return Name(_FIELDS[said][0], place, plain, 1000 + _FIELDS[said][1])  # pydantic-ai repeats totals there, too
    if place and plain in _TERMS:
        return Name(f"terms.{_TERMS[plain]}", place, plain, 0)
    details = _DETAILS.fullmatch(plain)
    if details is None or (key := details["key"]) is None:
        return None
    field = PROMPT if details["prompt"] else COMPLETION
    if key in _KEYS[field]:
        return Name(_KEYS[field][key][0], place, plain, _KEYS[field][key][1])
    if key in ("no_cache_tokens", "no_cache"):
        return None  # what the other two leave
    return Name(field + path.rpartition("etails.")[2] if "etails." in path else field + key, place, plain, 0, False)


@lru_cache(maxsize=8192)
def leads_to_counts(path: str) -> bool:
    """Whether an object under this path can hold a usage or counts of one."""
    plain = plain_name(path)
    rest = _split(plain)[2]
    return not rest or _leads(plain) or _leads(rest)


def _leads(start: str) -> bool:
    details = _DETAILS.fullmatch(start)
    return start in _STARTS or (details is not None and (details["key"] is None or details["key"] in _STARTS))


@lru_cache(maxsize=8192)
def holds_counts(path: str) -> bool:
    """Whether an object under this path is a usage, or the details of a count: text there is JSON."""
    plain = plain_name(path)
    _, usage, rest = _split(plain)
    return bool(usage and not rest) or _DETAILS.fullmatch(rest or plain) is not None


def details_of(path: str) -> str | None:
    """`prompt_tokens_details` or `completion_tokens_details` where `path` is called so; None else."""
    plain = plain_name(path)
    details = _DETAILS.fullmatch(_split(plain)[2]) or _DETAILS.fullmatch(plain)
    if details is None:
        return None
    return (PROMPT if details["prompt"] else COMPLETION).rstrip(".")


_INCLUSIVE_CACHED = {"cached_input_tokens", "cached_tokens", "input_cached_tokens", "native_tokens_cached"}


def convention_of(place: str, prompt: str, cache: Set[str], others: Iterable[str] = ()) -> Convention:
    """What the plain names mean: of the prompt count, of the cached parts, and of the `others`."""
    known = set(others)
    if place == "gen_ai_usage":
        return Convention("OpenTelemetry's")
    if place == "llm_token_count":
        return Convention("OpenInference's")
    if prompt in _SHORT["prompt_tokens"].split():
        return Convention("Langfuse's and opencode's", holds_cached=False, holds_reasoning=False)
    if prompt == "prompt_token_count" or "thoughts_token_count" in known:
        return Convention("Gemini's", holds_reasoning=False)
    if prompt == "uncached_input_tokens":
        return Convention("Anthropic's", holds_cached=False)
    if not cache.isdisjoint({"cache_reads", "cache_writes"}):
        return Convention("Cline's", holds_cached=False)
    if prompt != "input_tokens" and not prompt.startswith("input_"):
        return Convention("OpenAI's")
    if any("details" in name or name.startswith("input_tokens_") or name in _INCLUSIVE_CACHED for name in cache):
        return Convention("OpenAI's")
    if "cache_read_tokens" in cache and "cache_write_tokens" in cache:
        return Convention("pydantic-ai's")
    return Convention("Anthropic's", holds_cached=False)
