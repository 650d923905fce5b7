"""What a record accepts, refuses and promises: all validation is here, so every store refuses the same things."""

import copy
import json
import math
import pickle
import traceback
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, get_args, get_type_hints
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from mofa_usage import (
    AgentConfig,
    ApiCallStatus,
    ChatSession,
    LLMApiCall,
    LLMMessage,
    MessageContent,
    MessageRole,
    PriceDetails,
    Provider,
    QueryFilter,
    TokenDetails,
    ToolCallContent,
    ToolResultContent,
    UsageStatistics,
)
from mofa_usage.fields import CallFields, FailedCallFields, MessageFields, SessionFields
from mofa_usage.records import Record
from mofa_usage.stores.dialects import ConnectOptions, Options
from mofa_usage.values import TOKEN_SOURCES, read_currency
from tests import strategies
from tests.proofs import trials
from tests.samples import IDS, NIL, NOON, SECRET, agent, call, message, provider, session

BUILDERS = [call, message, session, provider, agent]
CALLER = ("chat_session_id", "agent_id", "user_id")
RECORDS = st.one_of(
    strategies.messages(),
    strategies.api_calls(),
    strategies.sessions(),
    strategies.providers(),
    strategies.agents(),
)


def refused(build: Any, **fields: Any) -> str:
    """The text of the refusal that building with these fields meets."""
    with pytest.raises(ValidationError) as caught:
        build(**fields)
    return str(caught.value)


# --- counts: tokens and milliseconds are integers 0 ... 2^31-1 ------------------------------------------------------

COUNTS = ["prompt_tokens", "completion_tokens", "total_tokens", "latency_ms", "time_to_first_token_ms"]
DETAIL_COUNTS = ["cached_tokens", "audio_tokens", "reasoning_tokens", "cache_write_tokens"]


@pytest.mark.parametrize("field", COUNTS)
@pytest.mark.parametrize("value", [0, 1, 2**31 - 1])
def test_a_count_within_bounds_is_kept(field: str, value: int) -> None:
    assert getattr(call(**{field: value}), field) == value


@pytest.mark.parametrize("field", COUNTS)
@pytest.mark.parametrize("value", [-1, 2**31, 2**63, 1.5, 1.0, "7", True, math.nan, Decimal(1)])
def test_a_count_out_of_bounds_or_of_another_kind_is_refused(field: str, value: object) -> None:
    assert field in refused(call, **{field: value})


@pytest.mark.parametrize("field", DETAIL_COUNTS)
def test_detail_counts_have_the_same_bounds(field: str) -> None:
    assert getattr(TokenDetails(**{field: 2**31 - 1}), field) == 2**31 - 1
    assert getattr(TokenDetails(**{field: 0}), field) == 0
    for value in (-1, 2**31, 0.0, "1", False):
        assert field in refused(TokenDetails, **{field: value})


@pytest.mark.parametrize("total", ["prompt_tokens", "completion_tokens"])
@pytest.mark.parametrize("part", DETAIL_COUNTS)
def test_details_are_subsets_of_their_total(total: str, part: str) -> None:
    fields: dict[str, Any] = {total: 40, f"{total}_details": TokenDetails(**{part: 40})}
    whole = call(**fields)
    assert getattr(getattr(whole, f"{total}_details"), part) == 40
    text = refused(call, **{total: 40, f"{total}_details": TokenDetails(**{part: 41})})
    assert part in text
    assert total in text


def test_details_are_never_added_to_their_totals() -> None:
    made = call(prompt_tokens_details=TokenDetails(cached_tokens=60), completion_tokens_details=TokenDetails())
    assert (made.prompt_tokens, made.completion_tokens, made.total_tokens) == (100, 50, 150)


# --- money and rates ------------------------------------------------------------------------------------------------

GOOD_PRICES = ["0", "-0", "0.0000000001", "99999.9999999999", "-99999.9999999999", "1.50", "1E+4", "1E-10", "12345"]
BAD_PRICES = ["100000", "-100000", "1E+5", "0.00000000001", "1.12345678901", "NaN", "sNaN", "Infinity", "-Infinity"]


@pytest.mark.parametrize("text", GOOD_PRICES)
def test_a_price_within_5_and_10_digits_is_kept_exactly(text: str) -> None:
    price = Decimal(text)
    assert call(total_price=price).total_price == price
    details = PriceDetails(input_price=price, output_price=price)
    assert (details.input_price, details.output_price) == (price, price)
    assert isinstance(details.input_price, Decimal)


@pytest.mark.parametrize("text", BAD_PRICES)
def test_a_price_beyond_5_or_10_digits_or_not_finite_is_refused(text: str) -> None:
    price = Decimal(text)
    assert "total_price" in refused(call, total_price=price)
    assert "input_price" in refused(PriceDetails, input_price=price)
    assert "output_price" in refused(PriceDetails, output_price=price)


@pytest.mark.parametrize("value", [math.nan, math.inf, True, "free", b"1", [1]])
def test_what_is_no_amount_is_no_price(value: object) -> None:
    assert "total_price" in refused(call, total_price=value)


def test_a_missing_price_stays_none() -> None:
    assert call().total_price is None
    assert PriceDetails().input_price is None
    assert PriceDetails().currency == "USD"


@pytest.mark.parametrize("value", [0.0, 5e-324, 1.7976931348623157e308, 35.5])
def test_a_finite_rate_is_kept(value: float) -> None:
    assert call(tokens_per_second=value).tokens_per_second == value
    assert agent(temperature=value).temperature == value


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "fast"])
def test_a_rate_that_is_not_finite_is_refused(value: object) -> None:
    assert "tokens_per_second" in refused(call, tokens_per_second=value)
    assert "temperature" in refused(agent, temperature=value)


# --- times ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("build", BUILDERS)
@pytest.mark.parametrize("field", ["create_time", "update_time"])
def test_a_naive_time_is_refused(build: Any, field: str) -> None:
    assert field in refused(build, **{field: datetime(2026, 3, 1)})


@pytest.mark.parametrize("build", BUILDERS)
@pytest.mark.parametrize("value", ["2026-03-01T12:00:00Z", 1772366400, 1.5, None])
def test_a_time_is_a_datetime(build: Any, value: object) -> None:
    assert "create_time" in refused(build, create_time=value)


@pytest.mark.parametrize(
    "zone", [timezone(timedelta(hours=-11)), ZoneInfo("Asia/Kathmandu"), timezone(timedelta(seconds=1))]
)
def test_other_zones_become_utc_and_microseconds_stay(zone: Any) -> None:
    made = message(create_time=NOON.astimezone(zone), update_time=NOON.astimezone(zone))
    assert made.create_time == NOON
    assert made.create_time.utcoffset() == timedelta(0)
    assert made.create_time.microsecond == 123_456
    assert made.create_time.hour == 12


def test_both_hours_of_an_autumn_night_are_told_apart() -> None:
    first = datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=0)
    second = first.replace(fold=1)
    assert session(create_time=second).create_time - session(create_time=first).create_time == timedelta(hours=1)


def test_a_time_that_does_not_exist_in_utc_is_refused() -> None:
    east = datetime.min.replace(tzinfo=timezone(timedelta(hours=14)))
    west = datetime.max.replace(tzinfo=timezone(timedelta(hours=-12)))
    assert "create_time" in refused(session, create_time=east)
    assert "update_time" in refused(session, update_time=west)


@pytest.mark.parametrize("build", BUILDERS)
def test_an_update_is_never_before_its_creation(build: Any) -> None:
    assert build(create_time=NOON, update_time=NOON).update_time == NOON
    early = NOON - timedelta(microseconds=1)
    text = refused(build, create_time=NOON, update_time=early)
    assert "update_time" in text
    assert "create_time" in text


@pytest.mark.parametrize("build", BUILDERS)
def test_a_new_record_was_updated_when_it_was_created(build: Any) -> None:
    before = datetime.now(UTC)
    made = build()
    assert before <= made.create_time <= datetime.now(UTC)
    assert made.create_time <= made.update_time <= datetime.now(UTC)
    assert build(create_time=NOON).update_time == NOON


# --- text -----------------------------------------------------------------------------------------------------------

TEXT_FIELDS = [
    *((call, name) for name in ("model_name", "error_message", "error_code", "api_response_id")),
    (session, "title"),
    *((provider, name) for name in ("provider_name", "provider_type", "api_base", "api_key")),
    *((agent, name) for name in ("agent_code", "agent_name", "model_name", "response_format", "system_prompt")),
    (MessageContent, "text"),
    (QueryFilter, "model_name"),
    (lambda **field: ToolCallContent(**({"id": "1", "name": "f", "arguments": {}} | field)), "id"),
    (lambda **field: ToolCallContent(**({"id": "1", "name": "f", "arguments": {}} | field)), "name"),
    (lambda **field: ToolResultContent(**({"tool_call_id": "1", "content": "x"} | field)), "tool_call_id"),
    (lambda **field: ToolResultContent(**({"tool_call_id": "1", "content": "x"} | field)), "content"),
]


@pytest.mark.parametrize(("build", "field"), TEXT_FIELDS)
@pytest.mark.parametrize("bad", ["\0", "a\0b", "\ud800", "ok \udfff", 7, ["list"]])
def test_text_holds_no_nul_no_lone_surrogate_and_is_text(build: Any, field: str, bad: object) -> None:
    assert field in refused(build, **{field: bad})


@pytest.mark.parametrize(("build", "field"), [pair for pair in TEXT_FIELDS if pair[1] != "api_key"])
@pytest.mark.parametrize("good", strategies.NASTY_TEXTS)
def test_any_other_text_is_kept_as_it_is(build: Any, field: str, good: str) -> None:
    assert getattr(build(**{field: good}), field) == good


# --- currency -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["EUR", "eur", " Eur ", "\teUR\n"])
def test_a_currency_is_three_letters_whatever_their_case_and_blanks(code: str) -> None:
    assert PriceDetails(currency=code) == PriceDetails(currency="EUR")
    assert call(price_details={"currency": code}, total_price="1").currency == "EUR"


@pytest.mark.parametrize("code", ["", " ", "€", "US", "EURO", "US1", "éur", "u\u00df", "USD,EUR", "\0", None, 978])
def test_what_is_no_currency_is_refused_when_a_record_is_made(code: object) -> None:
    assert "currency" in refused(PriceDetails, currency=code)


@pytest.mark.parametrize(
    ("written", "read"),
    [(" eur", "EUR"), (None, "USD"), ("€", "€"), (" euro ", " euro "), ("", ""), (978, "978"), (["EUR"], '["EUR"]')],
)
def test_a_currency_of_a_table_is_read_leniently(written: object, read: str) -> None:
    details = PriceDetails.model_validate({"currency": written}, context={"stored": True})
    assert details.currency == read == read_currency(written)


def test_a_call_without_a_price_has_no_currency() -> None:
    assert call().currency is None
    assert call(price_details={"currency": "EUR"}).currency is None
    assert call(total_price=Decimal(0)).currency == "USD"


# --- labels ---------------------------------------------------------------------------------------------------------


@given(strategies.labels())
def test_labels_are_text_by_name_and_do_not_change(labels: dict[str, str]) -> None:
    made = call(labels=labels)
    assert made.labels == labels
    assert made == call(labels=dict(labels), id=made.id, create_time=made.create_time)
    assert hash(made.labels) == hash(copy.deepcopy(made).labels)
    changing: Any = made.labels
    for change in (
        lambda: changing.update(x="y"),
        lambda: changing.__setitem__("x", "y"),
        lambda: changing.pop("x", None),
        lambda: changing.setdefault("x", "y"),
        changing.clear,
        lambda: changing.__ior__({"x": "y"}),
    ):
        with pytest.raises(TypeError, match="model_copy"):
            change()
    assert made.labels == labels


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([("a", "b")], "mapping"),
        (None, "mapping"),
        ({"a": 1}, "of kind int"),
        ({"retried": True}, "of kind bool"),
        ({"a": None}, "of kind NoneType"),
        ({1: "a"}, "names of labels are text"),
        ({"": "a"}, "1 to 100"),
        ({"a" * 101: "b"}, "101 characters"),
        ({"a": "\0"}, "NUL"),
        ({"\ud800": "b"}, "surrogate"),
        *(({"retried": value}, "must be 'true'") for value in ("", "false", "True", "1")),
        *(({"attempt": value}, "from 1") for value in ("", "0", "-1", "1.0", "01", "²", "\uff12", " 1", "2147483648")),
        *(({"operation": value}, "not be empty") for value in ("", " ")),
    ],
)
def test_labels_that_are_none_are_refused(labels: Any, said: str) -> None:
    text = refused(call, labels=labels)
    assert "labels" in text
    assert said in text


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ({"attempt": "0", "": "x"}, {"attempt": "0", "": "x"}),
        ({"a": 1, "b": True, "c": [1, "ü"], "d": None}, {"a": "1", "b": "true", "c": '[1,"ü"]'}),
        ([], {}),
        ("text", {}),
    ],
)
def test_labels_of_a_table_are_read_leniently(written: object, read: dict[str, str]) -> None:
    fields = {**dict(call()), "labels": written}
    made = LLMApiCall.model_validate(fields, context={"stored": True})
    assert made.labels == read
    assert made.model_copy(update={"latency_ms": 1}).labels == read


# --- where token counts come from -----------------------------------------------------------------------------------


@pytest.mark.parametrize("source", TOKEN_SOURCES)
def test_the_token_source_is_a_key_of_the_completion_details(source: str) -> None:
    assert call(completion_tokens_details={"token_source": source}).token_source == source


def test_counts_are_the_providers_unless_it_is_said() -> None:
    assert call().token_source == "provider"
    assert call(completion_tokens_details={"reasoning_tokens": 1}).token_source == "provider"


@pytest.mark.parametrize("source", ["", "None", "guessed", 1, None])
def test_another_token_source_is_refused_but_read(source: object) -> None:
    details = {"token_source": source}
    if source is not None:
        assert "token_source" in refused(call, completion_tokens_details=details)
    stored = LLMApiCall.model_validate({**dict(call()), "completion_tokens_details": details}, context={"stored": True})
    assert stored.token_source == "provider"


# --- JSON -----------------------------------------------------------------------------------------------------------

JSON_HOLDERS = [
    pytest.param(lambda value: session(metadata={"k": value}).metadata["k"], id="metadata"),
    pytest.param(lambda value: agent(custom_params={"k": value}).custom_params["k"], id="custom_params"),
    pytest.param(lambda value: agent(thinking=[value]).thinking[0], id="thinking"),
    pytest.param(lambda value: ToolCallContent(id="1", name="f", arguments=value).arguments, id="arguments"),
    pytest.param(lambda value: MessageContent.model_validate({"k": value}).model_dump()["k"], id="content"),
    pytest.param(lambda value: TokenDetails.model_validate({"k": value}).model_dump()["k"], id="token details"),
    pytest.param(lambda value: PriceDetails.model_validate({"k": value}).model_dump()["k"], id="price details"),
]
LOOP: list[Any] = []
LOOP.append(LOOP)
NOT_JSON = [
    math.nan,
    [math.inf],
    {"deep": [{"er": -math.inf}]},
    {1: "number as key"},
    {"nul\0key": 1},
    ["\ud800"],
    {"x": "\0"},
    b"bytes",
    {1, 2},
    object(),
    NOON,
    uuid4(),
    Decimal("1.5"),
    1j,
    LOOP,
]


@pytest.mark.parametrize("hold", JSON_HOLDERS)
@pytest.mark.parametrize("value", NOT_JSON, ids=lambda value: type(value).__name__)
def test_what_is_not_json_is_refused(hold: Any, value: object) -> None:
    with pytest.raises(ValidationError):
        hold(value)


@pytest.mark.parametrize("hold", JSON_HOLDERS)
@given(value=strategies.json_values())
@pytest.mark.proof
@settings(max_examples=trials(7, 100))
def test_real_json_is_kept_equal(hold: Any, value: Any) -> None:
    assert hold(value) == value
    assert json.loads(json.dumps(hold(value))) == value


@pytest.mark.parametrize("hold", JSON_HOLDERS)
def test_a_record_does_not_share_json_with_its_maker(hold: Any) -> None:
    inner = ["first"]
    held = hold({"list": inner})
    inner.append("second")
    assert held == {"list": ["first"]}


@pytest.mark.parametrize("value", [None, [], "text", 1, {1: 2}])
def test_session_metadata_is_a_json_object(value: object) -> None:
    assert "metadata" in refused(session, metadata=value)
    assert session().metadata == {}


@pytest.mark.parametrize("record", [MessageContent, TokenDetails, PriceDetails])
def test_further_keys_are_kept_flat_beside_the_declared_ones(record: type[BaseModel]) -> None:
    further = {"image_url": "https://x", "model_config": [1], "self": 1, "copy": None, "an odd key": {"a": [1.5]}}
    dumped = record.model_validate(further).model_dump()
    assert further.items() <= dumped.items()
    assert set(dumped) == set(record.model_fields) | set(further)


@pytest.mark.parametrize("build", [*BUILDERS, QueryFilter])
def test_an_unknown_field_is_refused_by_name(build: Any) -> None:
    assert "prompt_tokns" in refused(build, prompt_tokns=1)


# --- ids, enums, flags ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("build", BUILDERS)
def test_a_new_id_is_a_uuid_of_version_7_and_later_ones_sort_later(build: Any) -> None:
    ids = [build().id for _ in range(500)]
    assert all(isinstance(made, UUID) and made.version == 7 for made in ids)
    assert ids == sorted(ids)
    assert len(set(ids)) == 500


@pytest.mark.parametrize("build", BUILDERS)
@pytest.mark.parametrize("value", [None, 7, "not a uuid", b"short", ""])
def test_an_id_is_a_uuid(build: Any, value: object) -> None:
    assert "id" in refused(build, id=value)


def test_unset_tenants_and_messages_are_the_nil_uuid() -> None:
    made = call()
    assert (made.tenant_id, made.request_message_id, made.response_message_id) == (NIL, NIL, NIL)
    assert message().tenant_id == session().tenant_id == NIL
    assert message().parent_message_id is None


def test_the_words_of_the_enums_are_the_contracts() -> None:
    assert [role.value for role in MessageRole] == ["system", "user", "assistant", "tool"]
    assert [status.value for status in ApiCallStatus] == ["success", "failed", "timeout", "rate_limited", "cancelled"]


@pytest.mark.parametrize("value", ["SUCCESS", "ok", "", None, 1])
def test_a_status_is_one_of_the_five(value: object) -> None:
    assert "status" in refused(call, status=value)
    assert "role" in refused(message, role=value)


@pytest.mark.parametrize("value", [0, 1, "yes", None])
def test_a_flag_is_a_bool(value: object) -> None:
    assert "enabled" in refused(provider, enabled=value)
    assert "agent_status" in refused(agent, agent_status=value)


def test_the_defaults_of_an_agent() -> None:
    made = agent()
    assert (made.agent_order, made.agent_status) == (0, True)
    optional = ["context_limit", "custom_params", "max_completion_tokens", "response_format", "temperature", "stream"]
    assert [getattr(made, name) for name in [*optional, "thinking"]] == [None] * 7


# --- refusals -------------------------------------------------------------------------------------------------------


def test_a_refusal_names_the_field_the_kind_of_value_and_the_rule() -> None:
    text = refused(call, prompt_tokens="12")
    assert "prompt_tokens" in text
    assert "str" in text
    assert "integer" in text
    text = refused(call, latency_ms=-5)
    assert "latency_ms" in text
    assert "int" in text
    assert "greater than or equal to 0" in text


def everything_said(error: ValidationError) -> str:
    """All that an error can show: message, parts, JSON, and the traceback with its causes."""
    parts = [str(error), repr(error), str(error.errors()), "".join(traceback.format_exception(error))]
    return "\n".join([*parts, error.json()])


@pytest.mark.parametrize(
    "broken",
    [
        {"enabled": "maybe"},
        {"provider_name": None},
        {"unknown_field": 1},
        {"id": "nonsense"},
        {"create_time": NOON, "update_time": NOON - timedelta(days=1)},
        {"api_key": SECRET + "\0"},
        {"api_key": SECRET + "\ud800"},
        {"api_key": [SECRET]},
    ],
)
def test_a_refused_provider_never_shows_its_key(broken: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        provider(**broken)
    said = everything_said(caught.value)
    assert SECRET not in said
    assert all(field in said for field in broken)


def test_a_refused_config_never_shows_the_providers_key() -> None:
    fields = provider().model_dump() | {"api_key": SECRET, "enabled": "maybe"}
    with pytest.raises(ValidationError) as caught:
        AgentConfig.model_validate({"agent": agent(), "provider": fields})
    assert "enabled" in everything_said(caught.value)
    assert SECRET not in everything_said(caught.value)


def test_a_refused_copy_never_shows_the_key() -> None:
    with pytest.raises(ValidationError) as caught:
        provider().model_copy(update={"enabled": "maybe"})
    assert SECRET not in everything_said(caught.value)


def test_a_key_is_shown_only_when_it_is_asked_for() -> None:
    made = provider()
    config = AgentConfig(agent=agent(), provider=made)
    shown = [f"{made} {made!r} {made.model_dump()} {made.__dict__} {config} {config!r} {config.model_dump()}"]
    shown += [made.model_dump_json(), config.model_dump_json()]
    assert SECRET not in " ".join(shown)
    assert made.api_key.get_secret_value() == SECRET


# --- values ---------------------------------------------------------------------------------------------------------


def test_a_password_in_the_address_of_a_provider_is_not_shown() -> None:
    made = provider(api_base=f"https://me:{SECRET}@proxy.example/v1")
    assert SECRET not in repr(made) + str(made)
    assert "https://***@proxy.example/v1" in repr(made)
    assert made.api_base.endswith(f":{SECRET}@proxy.example/v1")


@given(RECORDS)
@pytest.mark.proof
@settings(max_examples=trials(8, 300))
def test_records_are_frozen(record: BaseModel) -> None:
    for field in type(record).model_fields:
        with pytest.raises(ValidationError):
            setattr(record, field, getattr(record, field))
        with pytest.raises(ValidationError):
            delattr(record, field)


@given(RECORDS)
@pytest.mark.proof
@settings(max_examples=trials(8, 300))
def test_records_are_equal_by_value_and_survive_copying_and_pickling(record: BaseModel) -> None:
    same = type(record).model_validate(dict(record))
    assert same is not record
    assert same == record
    assert copy.copy(record) == copy.deepcopy(record) == record.model_copy() == record.model_copy(deep=True) == record
    assert pickle.loads(pickle.dumps(record)) == record
    assert record.model_copy(update={"id": UUID(int=77)}) != record


@given(st.one_of(strategies.messages(), strategies.api_calls(), strategies.sessions(), strategies.agents()))
@pytest.mark.proof
@settings(max_examples=trials(8, 300))
def test_records_survive_their_own_json(record: BaseModel) -> None:
    assert type(record).model_validate_json(record.model_dump_json()) == record


@pytest.mark.parametrize(
    "changed",
    [
        provider(api_key="another"),
        provider(enabled=False),
    ],
)
def test_providers_that_differ_are_not_equal(changed: Provider) -> None:
    plain = provider(id=changed.id, create_time=changed.create_time)
    assert changed != plain
    assert changed == changed.model_copy()


def test_a_copy_with_changes_is_validated() -> None:
    made = call()
    assert made.model_copy(update={"latency_ms": 5}).latency_ms == 5
    assert made.latency_ms is None
    assert "latency_ms" in refused(made.model_copy, update={"latency_ms": -1})
    assert "latency" in refused(made.model_copy, update={"latency": 1})
    with pytest.raises(ValidationError, match="update_time"):
        made.model_copy(update={"create_time": made.update_time + timedelta(seconds=1)})


def test_a_copy_of_an_open_value_keeps_its_further_keys() -> None:
    made = TokenDetails.model_validate({"cached_tokens": 1, "image_tokens": 2})
    assert made.model_copy(update={"cached_tokens": 3}).model_dump()["image_tokens"] == 2


# --- constructors ---------------------------------------------------------------------------------------------------


def test_a_new_message_is_of_now_and_takes_plain_text() -> None:
    made = LLMMessage.new(**IDS, role="user", content="Hello")
    assert made.content == MessageContent(text="Hello")
    assert made.role is MessageRole.USER
    assert made.id.version == 7
    assert abs(made.create_time - datetime.now(UTC)) < timedelta(seconds=10)


def test_a_success_derives_latency_and_rate_from_its_two_times() -> None:
    end = NOON + timedelta(milliseconds=1500)
    made = LLMApiCall.success(
        **IDS, model_name="m", prompt_tokens=10, completion_tokens=30, request_time=NOON, response_time=end
    )
    assert made.status is ApiCallStatus.SUCCESS
    assert (made.latency_ms, made.tokens_per_second, made.total_tokens) == (1500, 20.0, 40)
    assert (made.create_time, made.update_time) == (NOON, end)
    assert (made.error_message, made.error_code, made.total_price) == (None, None, None)


def test_a_success_in_no_time_has_no_rate() -> None:
    made = LLMApiCall.success(
        **IDS, model_name="m", prompt_tokens=1, completion_tokens=1, request_time=NOON, response_time=NOON
    )
    assert (made.latency_ms, made.tokens_per_second) == (0, None)


def test_a_success_measures_between_zones() -> None:
    end = (NOON + timedelta(seconds=2)).astimezone(ZoneInfo("Asia/Tokyo"))
    made = LLMApiCall.success(
        **IDS, model_name="m", prompt_tokens=1, completion_tokens=4, request_time=NOON, response_time=end
    )
    assert (made.latency_ms, made.tokens_per_second) == (2000, 2.0)


@pytest.mark.parametrize(
    "times",
    [
        {"request_time": datetime(2026, 1, 1)},
        {"response_time": datetime(2026, 1, 1)},
        {"response_time": NOON - timedelta(seconds=1)},
    ],
)
def test_a_success_of_impossible_times_is_refused(times: dict[str, Any]) -> None:
    fields = IDS | {"model_name": "m", "request_time": NOON, "response_time": NOON} | times
    with pytest.raises(ValueError, match=r"time|latency|naive"):
        LLMApiCall.success(prompt_tokens=1, completion_tokens=1, **fields)


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("prompt_tokens", "10", "valid integer"),
        ("completion_tokens", None, "valid integer"),
        ("request_time", "2026-05-01T12:00:00Z", "not of kind str"),
        ("response_time", NOON.date(), "not of kind date"),
        ("request_time", datetime(2026, 1, 1), "needs a zone"),
    ],
)
def test_what_derives_nothing_is_refused_by_its_name(field: str, value: Any, says: str) -> None:
    fields = IDS | {"model_name": "m", "request_time": NOON, "response_time": NOON}
    with pytest.raises(ValueError, match=says) as caught:
        LLMApiCall.success(**{**fields, "prompt_tokens": 1, "completion_tokens": 1, field: value})
    assert field in str(caught.value)


def test_a_failure_has_an_error_and_used_nobody_knows_what() -> None:
    sent = datetime.now(UTC) - timedelta(seconds=2)
    made = LLMApiCall.failed(**IDS, model_name="m", error_message="boom", request_time=sent)
    assert made.status is ApiCallStatus.FAILED
    assert (made.error_message, made.error_code) == ("boom", None)
    assert (made.prompt_tokens, made.completion_tokens, made.total_tokens) == (0, 0, 0)
    assert made.token_source == "none"
    assert made.total_price is None
    assert made.create_time == sent <= made.update_time


def test_a_failure_of_long_ago_can_be_recorded() -> None:
    made = LLMApiCall.failed(**IDS, model_name="m", error_message="boom", request_time=datetime(2020, 1, 1, tzinfo=UTC))
    assert made.create_time.year == 2020


def test_a_failure_may_be_of_another_status_and_code() -> None:
    made = LLMApiCall.failed(
        **IDS,
        model_name="m",
        error_message="slow",
        error_code="408",
        request_time=datetime.now(UTC),
        status=ApiCallStatus.TIMEOUT,
    )
    assert (made.status, made.error_code) == (ApiCallStatus.TIMEOUT, "408")


FAILED_AS = [
    # given, status, token_source
    ({}, "failed", "none"),
    ({"error_code": "500"}, "failed", "none"),
    ({"error_code": "boom"}, "failed", "none"),
    ({"error_code": "408"}, "timeout", "none"),
    ({"error_code": "504"}, "timeout", "none"),
    ({"error_code": "499"}, "cancelled", "none"),
    ({"error_code": "429"}, "rate_limited", "provider"),
    ({"error_code": "400"}, "failed", "provider"),
    ({"error_code": "404", "status": "failed"}, "failed", "provider"),
    ({"error_code": "429", "status": "failed"}, "failed", "provider"),
    ({"status": "rate_limited"}, "rate_limited", "provider"),
    ({"error_code": "503", "status": "rate_limited"}, "rate_limited", "provider"),
    ({"status": "timeout"}, "timeout", "none"),
    ({"error_code": "408", "status": "failed"}, "failed", "none"),
    ({"status": "cancelled", "prompt_tokens": 7}, "cancelled", "partial"),
    ({"completion_tokens": 7}, "failed", "completion_only"),
    ({"prompt_tokens": 7, "completion_tokens": 0}, "failed", "provider"),
    ({"prompt_tokens": 7, "completion_tokens": 2, "error_code": "400"}, "failed", "provider"),
    ({"completion_tokens_details": {"token_source": "estimated"}}, "failed", "estimated"),
    ({"completion_tokens_details": {"thinking_tokens": 0}}, "failed", "none"),
]


@pytest.mark.parametrize(("given", "status", "source"), FAILED_AS)
def test_what_a_failure_used_is_unknown_unless_it_is_given_or_was_refused(
    given: dict[str, Any], status: str, source: str
) -> None:
    made = LLMApiCall.failed(**IDS, model_name="m", error_message="boom", request_time=NOON, **given)
    assert (made.status, made.token_source) == (status, source)
    counts = given.get("prompt_tokens", 0), given.get("completion_tokens", 0)
    assert (made.prompt_tokens, made.completion_tokens, made.total_tokens) == (*counts, sum(counts))
    details = made.completion_tokens_details
    assert "thinking_tokens" not in str(given) or (details is not None and "thinking_tokens" in details.model_dump())


def test_a_new_session_is_empty() -> None:
    made = ChatSession.new(UUID(int=3), UUID(int=2), title="T", metadata={"client": "web"})
    assert (made.user_id, made.agent_id, made.title) == (UUID(int=3), UUID(int=2), "T")
    assert made.metadata == {"client": "web"}
    assert made.tenant_id == NIL


# --- filters and statistics -----------------------------------------------------------------------------------------


def test_an_empty_filter_asks_for_everything() -> None:
    names = ["user_id", "session_id", "agent_id", "tenant_id", "start_time", "end_time", "status", "model_name"]
    assert QueryFilter().model_dump() == dict.fromkeys([*names, "limit", "offset"])


@pytest.mark.parametrize("field", ["limit", "offset"])
@pytest.mark.parametrize("value", [-1, 1.0, "1", True])
def test_limit_and_offset_are_whole_and_not_negative(field: str, value: object) -> None:
    assert field in refused(QueryFilter, **{field: value})
    assert getattr(QueryFilter(**{field: 0}), field) == 0


@pytest.mark.parametrize("field", ["start_time", "end_time"])
def test_the_times_of_a_filter_need_a_zone_and_become_utc(field: str) -> None:
    assert field in refused(QueryFilter, **{field: datetime(2026, 1, 1)})
    kept = getattr(QueryFilter(**{field: NOON.astimezone(ZoneInfo("Asia/Tokyo"))}), field)
    assert kept == NOON
    assert kept.utcoffset() == timedelta(0)


def statistics(**fields: Any) -> UsageStatistics:
    zero = ["total_calls", "success_count", "failed_count", "total_tokens", "total_prompt_tokens"]
    counts: dict[str, Any] = dict.fromkeys([*zero, "total_completion_tokens"], 0)
    return UsageStatistics(**(counts | {"status_counts": dict.fromkeys(ApiCallStatus, 0)} | fields))


def test_no_calls_have_no_success_rate() -> None:
    none = statistics()
    assert none.success_rate is None
    assert (none.total_cost, none.avg_latency_ms, none.avg_tokens_per_second) == (None, None, None)


@pytest.mark.parametrize(
    ("costs", "total"),
    [
        ({}, None),
        ({"EUR": Decimal("1.5")}, Decimal("1.5")),
        ({"USD": Decimal(0)}, Decimal(0)),
        ({"USD": Decimal(1), "EUR": Decimal(1)}, None),
    ],
)
def test_costs_of_several_currencies_have_no_total(costs: dict[str, Decimal], total: Decimal | None) -> None:
    made = statistics(costs=costs, priced_calls=len(costs))
    assert made.total_cost == total
    assert UsageStatistics.model_validate_json(made.model_dump_json()) == made


def test_records_can_be_in_sets() -> None:
    one, other = call(labels={"a": "b"}), call()
    assert {one, one.model_copy(), other} == {one, other}
    assert len({session(metadata={"a": []})}) == 1


def test_the_success_rate_is_successes_by_calls() -> None:
    assert statistics(total_calls=8, success_count=6).success_rate == 0.75
    assert statistics(total_calls=3).success_rate == 0.0


@pytest.mark.parametrize(
    ("fields", "record", "named"),
    [
        (MessageFields, LLMMessage, {"chat_session_id", "agent_id", "user_id", "role", "content"}),
        (CallFields, LLMApiCall, {*CALLER, "model_name", "prompt_tokens", "completion_tokens"}),
        (FailedCallFields, LLMApiCall, {*CALLER, "model_name", "error_message", "error_code", "status"}),
        (SessionFields, ChatSession, {"user_id", "agent_id"}),
    ],
)
def test_constructors_name_every_field(fields: type, record: type[Record], named: set[str]) -> None:
    assert set(fields.__annotations__) == set(record.model_fields) - named
    may_be_none = {name for name, hint in get_type_hints(fields).items() if type(None) in get_args(hint)}
    assert may_be_none == {name for name in get_type_hints(fields) if record.model_fields[name].default is None}


def test_what_connects_takes_every_option() -> None:
    hints, options = get_type_hints(ConnectOptions), get_type_hints(Options)
    assert hints == options
