"""Hypothesis strategies for every record, at the full width that the contract allows.

A store that loses a trailing space, the last of ten decimal places, a microsecond, the difference between `GPT-4` and
`gpt-4` or an emoji fails on these and on nothing narrower. `messages()`, `api_calls()` and their like draw whole valid
records; keyword arguments pin single fields where a test needs rows that belong together.
"""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

from hypothesis import strategies as st

from mofa_usage.records import (
    NIL_UUID,
    Agent,
    ApiCallStatus,
    ChatSession,
    LLMApiCall,
    LLMMessage,
    MessageContent,
    MessageRole,
    PriceDetails,
    Provider,
    TokenDetails,
    ToolCallContent,
    ToolResultContent,
)

MAX_INT = 2**31 - 1
LAST_TIME = datetime.max.replace(tzinfo=UTC)

# What databases, collations, drivers and JSON writers are known to lose, fold, escape or choke on.
NASTY_TEXTS = [
    "",
    " ",
    "trailing space ",
    "\ttab\nnewline\r\n",
    "GPT-4",
    "gpt-4",
    "straße",
    "STRASSE",
    "\u0130stanbul \u0131",
    "e\u0301 is not \u00e9",
    "emoji 👩‍👩‍👧‍👦 🏳️‍🌈 \U0010ffff",
    "עברית \u202eabc\u202c العربية",
    "'; DROP TABLE entity_agent; --",
    "quotes ' \" ` and \\ backslash \\\\ \\n",
    "100% _under_ %s %(x)s :name ? $1 {} {0}",
    "\x01\x1f\x7f\x80\ufeff\ufffe\uffff",
    "null",
    "\\u0000",
    "[1, 2]",
]
NASTY_FLOATS = [0.0, -0.0, 5e-324, 2.2250738585072014e-308, 1e23, 1.7976931348623157e308, 0.1, 1 / 3, -1e-7]
NASTY_INTS = [0, -1, 2**31, -(2**53) - 1, 2**63 - 1, 2**63, 2**64 + 1, -(10**30)]


def text(max_size: int = 60) -> st.SearchStrategy[str]:
    """Any text that the contract allows: no NUL character and no lone surrogate, everything else."""
    characters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
    return st.text(characters, max_size=max_size) | st.sampled_from(NASTY_TEXTS)


def names(max_size: int = 60) -> st.SearchStrategy[str]:
    """Text for names and codes, never empty."""
    return text(max_size).filter(bool)


def uuids() -> st.SearchStrategy[UUID]:
    """Any UUID of any version, the extremes of the sort order included."""
    return st.uuids() | st.sampled_from([UUID(int=1), UUID(int=2**128 - 1)])


def references() -> st.SearchStrategy[UUID]:
    """An id of something else, or the nil UUID for none."""
    return st.just(NIL_UUID) | uuids()


def json_values() -> st.SearchStrategy[Any]:
    """Any real JSON, nested, with integers beyond 64 bits and every finite double."""
    scalars = (
        st.none()
        | st.booleans()
        | st.integers(-(10**30), 10**30)
        | st.sampled_from(NASTY_INTS)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.sampled_from(NASTY_FLOATS)
        | text(20)
    )
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text(10), inner, max_size=3),
        max_leaves=6,
    )


def json_objects(*, without: frozenset[str] = frozenset()) -> st.SearchStrategy[dict[str, Any]]:
    """A JSON object whose keys are none of `without`."""
    return st.dictionaries(text(12).filter(lambda key: key not in without), json_values(), max_size=3)


def further_keys(record: type[MessageContent | TokenDetails | PriceDetails]) -> st.SearchStrategy[dict[str, Any]]:
    """Keys beside the declared ones of a record that keeps them; often none."""
    return st.builds(dict[str, Any]) | json_objects(without=frozenset(record.model_fields))


def zones() -> st.SearchStrategy[timezone]:
    """Fixed offsets, from the widest in the west to the widest in the east, seconds included."""
    return st.sampled_from(
        [UTC, timezone(timedelta(hours=14)), timezone(timedelta(hours=-12)), timezone(timedelta(seconds=20712))]
    )


def times() -> st.SearchStrategy[datetime]:
    """Times of ordinary years in any zone, to the microsecond."""
    return st.datetimes(datetime(1970, 1, 2), datetime(2100, 1, 1), timezones=zones())


def extreme_times() -> st.SearchStrategy[datetime]:
    """The first and last instants that a `datetime` can say, and turns of the calendar that databases stumble over."""
    return st.sampled_from(
        [
            datetime.min.replace(tzinfo=UTC),
            datetime(1000, 1, 1, tzinfo=UTC),
            datetime(1899, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
            LAST_TIME,
        ]
    )


@st.composite
def spans(draw: st.DrawFn) -> tuple[datetime, datetime]:
    """`(create_time, update_time)`, the second never before the first."""
    first = draw(times() | extreme_times())
    second = draw(st.just(first) | times().filter(lambda moment: moment >= first) | st.just(LAST_TIME))
    return first, second


def prices() -> st.SearchStrategy[Decimal]:
    """Money: 5 digits before the point, up to 10 after, trailing zeros as drawn, refunds (negative) too."""
    limit = Decimal("99999.9999999999")
    drawn = st.integers(0, 10).flatmap(
        lambda places: st.decimals(-99_999, 99_999, places=places, allow_nan=False, allow_infinity=False)
    )
    exact = st.sampled_from([Decimal(0), Decimal("1E-10"), limit, -limit, Decimal("0.10"), Decimal("1E+3")])
    return drawn | exact


def rates() -> st.SearchStrategy[float]:
    """Tokens per second: any finite double that is not negative."""
    return st.floats(0, allow_nan=False, allow_infinity=False) | st.sampled_from([x for x in NASTY_FLOATS if x >= 0])


def counts(limit: int = MAX_INT) -> st.SearchStrategy[int]:
    """Tokens or milliseconds: 0 to `limit`, both ends often."""
    return st.integers(0, limit) | st.sampled_from([0, limit])


@st.composite
def prompt_details(draw: st.DrawFn, total: int) -> TokenDetails:
    """Details of a prompt of `total` tokens: the cached and the cache-written ones are disjoint parts of it."""
    cached = draw(st.none() | counts(total))
    parts = {
        "cached_tokens": cached,
        "cache_write_tokens": draw(st.none() | counts(total - (cached or 0))),
        "audio_tokens": draw(st.none() | counts(total)),
    }
    return TokenDetails.model_validate(draw(further_keys(TokenDetails)) | parts)


@st.composite
def completion_details(draw: st.DrawFn, total: int) -> TokenDetails:
    """Details of a completion of `total` tokens."""
    parts = {"reasoning_tokens": draw(st.none() | counts(total)), "audio_tokens": draw(st.none() | counts(total))}
    return TokenDetails.model_validate(draw(further_keys(TokenDetails)) | parts)


@st.composite
def price_details(draw: st.DrawFn) -> PriceDetails:
    """Prices in some currency."""
    parts = {
        "input_price": draw(st.none() | prices()),
        "output_price": draw(st.none() | prices()),
        "currency": draw(st.sampled_from(["USD", "EUR", "CNY"])),
    }
    return PriceDetails.model_validate(draw(further_keys(PriceDetails)) | parts)


@st.composite
def contents(draw: st.DrawFn) -> MessageContent:
    """What a message says: text, tool calls, a tool's result, further keys, or nothing at all."""
    calls = st.lists(st.builds(ToolCallContent, id=text(), name=text(), arguments=json_values()), max_size=3)
    results = st.builds(ToolResultContent, tool_call_id=text(), content=text(), is_error=st.booleans())
    parts = {
        "text": draw(st.none() | text(300)),
        "tool_calls": draw(st.none() | calls),
        "tool_result": draw(st.none() | results),
    }
    return MessageContent.model_validate(draw(further_keys(MessageContent)) | parts)


@st.composite
def messages(draw: st.DrawFn, /, **fixed: Any) -> LLMMessage:
    """A message; keyword arguments pin fields."""
    create_time, update_time = draw(spans())
    drawn: dict[str, Any] = {
        "id": draw(uuids()),
        "chat_session_id": draw(uuids()),
        "agent_id": draw(uuids()),
        "user_id": draw(uuids()),
        "tenant_id": draw(references()),
        "parent_message_id": draw(st.none() | uuids()),
        "role": draw(st.sampled_from(MessageRole)),
        "content": draw(contents()),
        "create_time": create_time,
        "update_time": update_time,
    }
    return LLMMessage(**(drawn | fixed))


@st.composite
def api_calls(draw: st.DrawFn, /, **fixed: Any) -> LLMApiCall:
    """An API call; keyword arguments pin fields."""
    create_time, update_time = draw(spans())
    prompt = draw(counts())
    completion = draw(counts(MAX_INT - prompt))
    drawn: dict[str, Any] = {
        **{name: draw(uuids()) for name in ("id", "chat_session_id", "agent_id", "user_id")},
        **{name: draw(references()) for name in ("tenant_id", "request_message_id", "response_message_id")},
        "model_name": draw(names()),
        "status": draw(st.sampled_from(ApiCallStatus)),
        "error_message": draw(st.none() | text(200)),
        "error_code": draw(st.none() | text(40)),
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": draw(st.none() | prompt_details(prompt)),
        "completion_tokens_details": draw(st.none() | completion_details(completion)),
        "total_price": draw(st.none() | prices()),
        "price_details": draw(st.none() | price_details()),
        "latency_ms": draw(st.none() | counts()),
        "time_to_first_token_ms": draw(st.none() | counts()),
        "tokens_per_second": draw(st.none() | rates()),
        "api_response_id": draw(st.none() | text()),
        "create_time": create_time,
        "update_time": update_time,
    }
    return LLMApiCall(**(drawn | fixed))


@st.composite
def sessions(draw: st.DrawFn, /, **fixed: Any) -> ChatSession:
    """A chat session; keyword arguments pin fields."""
    create_time, update_time = draw(spans())
    drawn: dict[str, Any] = {
        "id": draw(uuids()),
        "user_id": draw(uuids()),
        "agent_id": draw(uuids()),
        "tenant_id": draw(references()),
        "title": draw(st.none() | text(200)),
        "metadata": draw(json_objects()),
        "create_time": create_time,
        "update_time": update_time,
    }
    return ChatSession(**(drawn | fixed))


@st.composite
def providers(draw: st.DrawFn, /, **fixed: Any) -> Provider:
    """A provider with a secret; keyword arguments pin fields."""
    create_time, update_time = draw(spans())
    drawn: dict[str, Any] = {
        "id": draw(uuids()),
        "tenant_id": draw(references()),
        "provider_name": draw(names()),
        "provider_type": draw(names(20)),
        "api_base": draw(text(200)),
        "api_key": draw(text(200)),
        "enabled": draw(st.booleans()),
        "create_time": create_time,
        "update_time": update_time,
    }
    return Provider(**(drawn | fixed))


@st.composite
def agents(draw: st.DrawFn, /, **fixed: Any) -> Agent:
    """An agent; keyword arguments pin fields."""
    create_time, update_time = draw(spans())
    drawn: dict[str, Any] = {
        "id": draw(uuids()),
        "tenant_id": draw(references()),
        "agent_code": draw(names()),
        "agent_name": draw(names()),
        "agent_order": draw(st.integers(0, MAX_INT)),
        "agent_status": draw(st.booleans()),
        "context_limit": draw(st.none() | counts()),
        "custom_params": draw(st.none() | json_objects()),
        "max_completion_tokens": draw(st.none() | counts()),
        "model_name": draw(names()),
        "provider_id": draw(uuids()),
        "response_format": draw(st.none() | text(40)),
        "system_prompt": draw(text(300)),
        "temperature": draw(st.none() | rates()),
        "stream": draw(st.none() | st.booleans()),
        "thinking": draw(st.none() | json_objects()),
        "create_time": create_time,
        "update_time": update_time,
    }
    return Agent(**(drawn | fixed))
