"""Hypothesis strategies for every record, at the full width that the contract allows.

A store that loses a trailing space, the last of ten decimal places, a microsecond, the difference between `GPT-4` and
`gpt-4` or an emoji fails on these and on nothing narrower.

Every strategy is built once (`@cache`): Hypothesis examines each new strategy object, which costs more than drawing.
"""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from functools import cache
from typing import Any, TypeVar
from uuid import UUID

from hypothesis import strategies as st
from pydantic import BaseModel

from mofa_usage.labels import RESERVED
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
from mofa_usage.values import TOKEN_SOURCES

_OpenT = TypeVar("_OpenT", MessageContent, TokenDetails, PriceDetails)
_RecordT = TypeVar("_RecordT", bound=BaseModel)

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


@cache
def text(max_size: int = 60) -> st.SearchStrategy[str]:
    """Any text that the contract allows: no NUL character and no lone surrogate, everything else."""
    characters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
    return st.text(characters, max_size=max_size) | st.sampled_from(NASTY_TEXTS)


@cache
def names() -> st.SearchStrategy[str]:
    """Text for names and codes, never empty."""
    return text().filter(bool)


@cache
def uuids() -> st.SearchStrategy[UUID]:
    """Any UUID of any version, the extremes of the sort order included."""
    return st.uuids() | st.sampled_from([UUID(int=1), UUID(int=2**128 - 1)])


@cache
def references() -> st.SearchStrategy[UUID]:
    """An id of something else, or the nil UUID for none."""
    return st.just(NIL_UUID) | uuids()


@cache
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
    lists = st.lists(scalars, max_size=3)
    objects = st.dictionaries(text(10), scalars | lists, max_size=3)
    return scalars | lists | objects | st.lists(objects, max_size=2) | st.dictionaries(text(10), objects, max_size=2)


@cache
def json_objects() -> st.SearchStrategy[dict[str, Any]]:
    """A JSON object with any keys."""
    return st.dictionaries(text(12), json_values(), max_size=3)


@cache
def zones() -> st.SearchStrategy[timezone]:
    """Fixed offsets, from the widest in the west to the widest in the east, seconds included."""
    return st.sampled_from(
        [UTC, timezone(timedelta(hours=14)), timezone(timedelta(hours=-12)), timezone(timedelta(seconds=20712))]
    )


@cache
def times() -> st.SearchStrategy[datetime]:
    """Times of ordinary years in any zone, to the microsecond."""
    return st.datetimes(datetime(1970, 1, 2), datetime(2100, 1, 1), timezones=zones())


@cache
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


@cache
def spans() -> st.SearchStrategy[dict[str, datetime]]:
    """The fields `create_time` and `update_time`, the second never before the first."""
    two = st.tuples(times() | extreme_times(), times()) | st.tuples(times(), extreme_times())
    pairs = two.map(sorted) | times().map(lambda moment: [moment, moment])
    return pairs.map(lambda pair: {"create_time": pair[0], "update_time": pair[1]})


@cache
def prices() -> st.SearchStrategy[Decimal]:
    """Money: 5 digits before the point, up to 10 after, trailing zeros as drawn, refunds (negative) too."""
    limit = Decimal("99999.9999999999")
    drawn = st.builds(
        lambda units, places: Decimal(units).scaleb(-places), st.integers(-99_999, 99_999), st.integers(0, 10)
    )
    long = st.integers(-(10**15) + 1, 10**15 - 1).map(lambda units: Decimal(units).scaleb(-10))
    exact = st.sampled_from([Decimal(0), Decimal("1E-10"), limit, -limit, Decimal("0.10"), Decimal("1E+3")])
    return drawn | long | exact


@cache
def rates() -> st.SearchStrategy[float]:
    """Tokens per second: any finite double that is not negative."""
    return st.floats(0, allow_nan=False, allow_infinity=False) | st.sampled_from([x for x in NASTY_FLOATS if x >= 0])


@cache
def counts() -> st.SearchStrategy[int]:
    """Tokens or milliseconds, both ends often."""
    return st.integers(0, MAX_INT) | st.sampled_from([0, MAX_INT])


def _open(record: type[_OpenT], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[_OpenT]:
    """A record with all of its own fields and further keys, often none, beside them."""
    further = st.builds(dict[str, Any]) | json_objects()
    return st.builds(lambda keys, own: record.model_validate(keys | own), further, st.fixed_dictionaries(fields))


@cache
def token_details() -> st.SearchStrategy[TokenDetails]:
    """Details of some total; `within` makes them details of a given one."""
    kinds = ("cached_tokens", "cache_write_tokens", "audio_tokens", "reasoning_tokens")
    return _open(TokenDetails, **{kind: st.none() | counts() for kind in kinds})


@cache
def completion_details() -> st.SearchStrategy[TokenDetails]:
    """Details of completion tokens, which may say how the counts came about."""
    sources = st.none() | st.sampled_from(TOKEN_SOURCES)
    return st.builds(
        lambda details, source: details.model_copy(update={} if source is None else {"token_source": source}),
        token_details(),
        sources,
    )


def within(details: TokenDetails | None, total: int) -> TokenDetails | None:
    """Details cut down to a total: no part is larger, and the cached and the cache-written are disjoint parts."""
    if details is None:
        return None
    own = {name: getattr(details, name) for name in TokenDetails.model_fields}
    cut = {name: None if value is None else min(value, total) for name, value in own.items()}
    if cut["cache_write_tokens"] is not None:
        cut["cache_write_tokens"] = min(cut["cache_write_tokens"], total - (cut["cached_tokens"] or 0))
    return details.model_copy(update=cut)


@cache
def price_details() -> st.SearchStrategy[PriceDetails]:
    """Prices in some currency, written as people write it."""
    price = st.none() | prices()
    currency = st.sampled_from(["USD", "EUR", "CNY", "usd", " eur\t"])
    return _open(PriceDetails, input_price=price, output_price=price, currency=currency)


@cache
def labels() -> st.SearchStrategy[dict[str, str]]:
    """Labels of any name that the contract allows, those with a meaning among them; often none."""
    free = st.dictionaries(text(100).filter(lambda name: bool(name) and name not in RESERVED), text(), max_size=3)
    meaning = {name: text() for name in RESERVED} | {
        "retried": st.just("true"),
        "attempt": st.integers(1, MAX_INT).map(str),
        "operation": text().filter(lambda value: bool(value.strip())),
    }
    reserved = st.fixed_dictionaries({}, optional=meaning)
    return st.just({}) | st.builds(lambda some, others: some | others, free, reserved)


@cache
def contents() -> st.SearchStrategy[MessageContent]:
    """What a message says: text, tool calls, a tool's result, further keys, or nothing at all."""
    calls = st.lists(st.builds(ToolCallContent, id=text(), name=text(), arguments=json_values()), max_size=3)
    results = st.builds(ToolResultContent, tool_call_id=text(), content=text(), is_error=st.booleans())
    return _open(
        MessageContent, text=st.none() | text(300), tool_calls=st.none() | calls, tool_result=st.none() | results
    )


def _record(record: type[_RecordT], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[_RecordT]:
    return st.builds(
        lambda drawn, span: record.model_validate(drawn | span),
        st.fixed_dictionaries({"id": uuids()} | fields),
        spans(),
    )


@cache
def messages() -> st.SearchStrategy[LLMMessage]:
    """A message."""
    return _record(
        LLMMessage,
        chat_session_id=uuids(),
        agent_id=uuids(),
        user_id=uuids(),
        tenant_id=references(),
        parent_message_id=st.none() | uuids(),
        role=st.sampled_from(MessageRole),
        content=contents(),
    )


def _call(drawn: dict[str, Any], span: dict[str, datetime], share: float) -> LLMApiCall:
    total = drawn["total_tokens"]
    prompt = int(total * share)
    tokens = {
        "prompt_tokens": prompt,
        "completion_tokens": total - prompt,
        "prompt_tokens_details": within(drawn["prompt_tokens_details"], prompt),
        "completion_tokens_details": within(drawn["completion_tokens_details"], total - prompt),
    }
    return LLMApiCall.model_validate(drawn | tokens | span)


@cache
def api_calls() -> st.SearchStrategy[LLMApiCall]:
    """An API call whose details fit its tokens."""
    fields: dict[str, st.SearchStrategy[Any]] = {
        **dict.fromkeys(("id", "chat_session_id", "agent_id", "user_id"), uuids()),
        **dict.fromkeys(("tenant_id", "request_message_id", "response_message_id"), references()),
        "model_name": names(),
        "status": st.sampled_from(ApiCallStatus),
        "error_message": st.none() | text(200),
        "error_code": st.none() | text(40),
        "total_tokens": counts(),
        "prompt_tokens_details": st.none() | token_details(),
        "completion_tokens_details": st.none() | completion_details(),
        "total_price": st.none() | prices(),
        "price_details": st.none() | price_details(),
        **dict.fromkeys(("latency_ms", "time_to_first_token_ms"), st.none() | counts()),
        "tokens_per_second": st.none() | rates(),
        "api_response_id": st.none() | text(),
        "labels": labels(),
    }
    return st.builds(_call, st.fixed_dictionaries(fields), spans(), st.floats(0, 1))


@cache
def sessions() -> st.SearchStrategy[ChatSession]:
    """A chat session."""
    return _record(
        ChatSession,
        user_id=uuids(),
        agent_id=uuids(),
        tenant_id=references(),
        title=st.none() | text(200),
        metadata=json_objects(),
    )


@cache
def providers() -> st.SearchStrategy[Provider]:
    """A provider with a secret."""
    return _record(
        Provider,
        tenant_id=references(),
        provider_name=names(),
        provider_type=names(),
        api_base=text(200),
        api_key=text(200),
        enabled=st.booleans(),
    )


@cache
def agents() -> st.SearchStrategy[Agent]:
    """An agent whose provider need not exist."""
    return _record(
        Agent,
        tenant_id=references(),
        agent_code=names(),
        agent_name=names(),
        agent_order=st.integers(-MAX_INT - 1, MAX_INT),
        agent_status=st.booleans(),
        context_limit=st.none() | counts(),
        custom_params=json_values(),
        max_completion_tokens=st.none() | counts(),
        model_name=names(),
        provider_id=uuids(),
        response_format=st.none() | text(40),
        system_prompt=text(300),
        temperature=st.none() | rates(),
        stream=st.none() | st.booleans(),
        thinking=st.none() | json_objects(),
    )
