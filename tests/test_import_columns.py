"""Which columns of a source are which fields, and what a row does not say."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from mofa_usage.records import NIL_UUID, ApiCallStatus, LLMApiCall, PriceDetails, TokenDetails
from tests.imports import GOOD, HEADER, imported, imported_one, write, write_jsonl


async def test_what_a_row_does_not_say_is_completed(tmp_path: Path) -> None:
    source = write(tmp_path / "a.csv", f"{HEADER},latency_ms", f"{GOOD},1500")
    call = await imported_one(source)
    start = datetime(2026, 5, 1, 10, tzinfo=UTC)
    assert call.create_time == start
    assert call.update_time == start + timedelta(milliseconds=1500)
    assert call.total_tokens == 15
    assert call.status is ApiCallStatus.SUCCESS
    nil = (call.chat_session_id, call.agent_id, call.user_id, call.tenant_id, call.request_message_id)
    assert set(nil) == {NIL_UUID}
    unknown = ("total_price", "price_details", "prompt_tokens_details", "time_to_first_token_ms", "api_response_id")
    assert {name: getattr(call, name) for name in unknown} == dict.fromkeys(unknown)


async def test_tokens_follow_from_the_total(tmp_path: Path) -> None:
    source = write(tmp_path / "a.csv", "create_time,prompt_tokens,total_tokens", "2026-05-01T10:00:00Z,10,17")
    assert (await imported_one(source)).completion_tokens == 7


async def test_defaults_fill_what_is_missing_and_nothing_else(tmp_path: Path) -> None:
    source = write(tmp_path / "a.csv", HEADER, GOOD, GOOD.replace("gpt-4", ""))
    tenant = "0191d2a4-7d3c-7000-8000-000000000001"
    defaults = {"model_name": "mini", "tenant_id": tenant, "price_details.currency": "EUR", "total_price": "0.5"}
    _, calls = await imported(source, defaults=defaults)
    assert sorted(call.model_name for call in calls) == ["gpt-4", "mini"]
    assert {call.tenant_id for call in calls} == {UUID(tenant)}
    assert {call.price_details for call in calls} == {PriceDetails(currency="EUR")}
    assert {call.total_price for call in calls} == {Decimal("0.5")}


# Columns


async def test_a_mapping_names_columns_and_keys_of_details(tmp_path: Path) -> None:
    source = write(tmp_path / "a.csv", "when;what;in;out;hits;note", "2026-05-01T10:00:00Z;gpt-4;10;5;4;x")
    mapping = {
        "create_time": "when",
        "model_name": "what",
        "prompt_tokens": "in",
        "completion_tokens": "out",
        "prompt_tokens_details.cached_tokens": "hits",
    }
    result, [call] = await imported(source, mapping=mapping)
    assert call.prompt_tokens_details == TokenDetails(cached_tokens=4)
    assert (call.model_name, call.prompt_tokens, call.completion_tokens) == ("gpt-4", 10, 5)
    assert result.columns == mapping
    assert result.ignored == ("note",)


async def test_the_flat_columns_of_our_own_export_come_back(tmp_path: Path) -> None:
    flat = "cached_tokens,cache_write_tokens,prompt_audio_tokens,reasoning_tokens,completion_audio_tokens"
    source = write(
        tmp_path / "a.csv",
        f"{HEADER},{flat},total_price,input_price,output_price,currency",
        f"{GOOD},4,3,2,1,0,3,1,2,EUR",
    )
    call = await imported_one(source)
    assert call.prompt_tokens_details == TokenDetails(cached_tokens=4, cache_write_tokens=3, audio_tokens=2)
    assert call.completion_tokens_details == TokenDetails(reasoning_tokens=1, audio_tokens=0)
    assert call.price_details == PriceDetails(input_price=Decimal(1), output_price=Decimal(2), currency="EUR")
    assert call.total_price == Decimal(3)


async def test_a_field_mapped_to_none_is_left_out(tmp_path: Path) -> None:
    source = write(tmp_path / "a.csv", f"{HEADER},user_id", f"{GOOD},alice")
    assert (await imported(source))[0].rejected == 1
    assert (await imported_one(source, mapping={"user_id": None})).user_id == NIL_UUID


async def test_text_ids_become_the_same_uuid_every_time(tmp_path: Path) -> None:
    source = write(tmp_path / "a.csv", f"{HEADER},user_id,agent_id", f"{GOOD},alice,alice", f"{GOOD},alice,bob")
    _, calls = await imported(source, text_ids=True)
    assert len({call.user_id for call in calls}) == 1
    assert len({call.agent_id for call in calls} | {call.user_id for call in calls}) == 3


async def test_a_saved_openai_response(tmp_path: Path) -> None:
    row = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1777629600,
        "model": "gpt-4.1",
        "usage": {
            "prompt_tokens": 100,
            "completion_tokens": 30,
            "total_tokens": 130,
            "prompt_tokens_details": {"cached_tokens": 64, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 20, "accepted_prediction_tokens": 0},
        },
    }
    call = await imported_one(write_jsonl(tmp_path / "a.jsonl", row))
    assert (call.api_response_id, call.model_name) == ("chatcmpl-1", "gpt-4.1")
    assert call.create_time == datetime(2026, 5, 1, 10, tzinfo=UTC)
    assert call.prompt_tokens_details == TokenDetails(cached_tokens=64, audio_tokens=0)
    assert call.completion_tokens_details == TokenDetails.model_validate(
        {"reasoning_tokens": 20, "accepted_prediction_tokens": 0}
    )


async def test_an_answer_that_failed_and_one_of_a_batch(tmp_path: Path) -> None:
    failed = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1777629600,
        "status": "failed",
        "model": "gpt-4.1",
        "error": {"code": "server_error", "message": "boom"},
        "usage": None,
    }
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    body = {"id": "chatcmpl-1", "created": 1777629601, "model": "gpt-4.1", "usage": usage}
    line = {"id": "batch_req_1", "custom_id": "x", "response": {"status_code": 200, "body": body}, "error": None}
    result, [first, second] = await imported(write_jsonl(tmp_path / "a.jsonl", failed, line))
    assert (first.api_response_id, first.status, first.token_source) == ("resp_1", ApiCallStatus.FAILED, "none")
    assert (second.api_response_id, second.status, second.total_tokens) == ("chatcmpl-1", ApiCallStatus.SUCCESS, 15)
    assert result.ignored == ("object", "custom_id")


async def test_anthropics_cached_tokens_are_added_to_the_prompt_once(tmp_path: Path) -> None:
    usage = {"input_tokens": 10, "cache_read_input_tokens": 70, "cache_creation_input_tokens": 20, "output_tokens": 5}
    row = {"id": "msg_1", "created_at": "2026-05-01T10:00:00Z", "model": "claude", "usage": usage}
    call = await imported_one(write_jsonl(tmp_path / "a.jsonl", row))
    assert (call.prompt_tokens, call.completion_tokens, call.total_tokens) == (100, 5, 105)
    assert call.prompt_tokens_details == TokenDetails(cached_tokens=70, cache_write_tokens=20)


async def test_cached_tokens_that_the_prompt_contains_are_not_added(tmp_path: Path) -> None:
    row = {
        "startTime": 1777629600.5,
        "endTime": 1777629602.25,
        "model": "gpt-4.1",
        "prompt_tokens": 100,
        "completion_tokens": 5,
        "cache_read_input_tokens": 70,
        "response_cost": 0.25,
        "status": "failure",
    }
    call = await imported_one(write_jsonl(tmp_path / "a.jsonl", row))
    assert (call.prompt_tokens, call.prompt_tokens_details) == (100, TokenDetails(cached_tokens=70))
    assert call.create_time == datetime(2026, 5, 1, 10, 0, 0, 500_000, tzinfo=UTC)
    assert call.update_time - call.create_time == timedelta(seconds=1.75)
    assert (call.total_price, call.status) == (Decimal("0.25"), ApiCallStatus.FAILED)


# Labels


@pytest.mark.parametrize(
    ("column", "value", "labels"),
    [
        ("provider_name", "openai", {"provider": "openai"}),
        ("gen_ai.provider.name", "openai", {"provider": "openai"}),
        ("custom_llm_provider", "azure", {"provider": "azure"}),
        ("project", "p1", {"project": "p1"}),
        ("Project Name", "p1", {"project": "p1"}),
        ("api_key_alias", "ci", {"api_key": "ci"}),
        ("userName", "Ann", {"user": "Ann"}),
        ("user", "ann@example.org", {"user": "ann@example.org"}),
        ("user.id", "ann", {"user": "ann"}),
        ("session_id", "ticket-7", {"session": "ticket-7"}),
        ("gen_ai.conversation.id", "conv_1", {"session": "conv_1"}),
        ("agent_name", "Helper", {"agent": "Helper"}),
        ("team_alias", "search", {"team": "search"}),
        ("environment", "prod", {"environment": "prod"}),
        ("service_tier", "flex", {"service_tier": "flex"}),
        ("request_id", "req_1", {"request_id": "req_1"}),
        ("labels.feature", "search", {"feature": "search"}),
        ("labels.Feature Name", "x", {"Feature Name": "x"}),
        ("call_type", "acompletion", {}),
        ("operation", "chat", {}),
        ("gen_ai.operation.name", "embeddings", {"operation": "embeddings"}),
        ("call_type", "aembedding", {"operation": "embeddings"}),
        ("retried", "true", {"retried": "true"}),
        ("retried", "False", {}),
        ("attempt", "2", {"attempt": "2"}),
        ("attempt", "0", {}),
        ("served_model", "gpt-4-0613", {"served_model": "gpt-4-0613"}),
        ("served_model", "gpt-4", {}),
        ("api_key", "sk-secret", {}),
    ],
)
async def test_names_become_labels(tmp_path: Path, column: str, value: str, labels: dict[str, str]) -> None:
    source = write(tmp_path / "a.csv", f"{HEADER},{column}", f"{GOOD},{value}")
    call = await imported_one(source)
    assert call.labels == labels
    assert {call.user_id, call.chat_session_id, call.agent_id} == {NIL_UUID}


async def test_ids_that_are_uuids_stay_ids(tmp_path: Path) -> None:
    source = write(tmp_path / "a.csv", f"{HEADER},user,session_id", f"{GOOD},{UUID(int=5)},{UUID(int=6)}")
    call = await imported_one(source)
    assert (call.user_id, call.chat_session_id, call.labels) == (UUID(int=5), UUID(int=6), {})


async def test_text_ids_keep_the_names_as_labels(tmp_path: Path) -> None:
    source = write(tmp_path / "a.csv", f"{HEADER},user_id,tenant_id", f"{GOOD},alice,acme")
    call = await imported_one(source, text_ids=True)
    assert call.labels == {"user": "alice"}
    assert NIL_UUID not in (call.user_id, call.tenant_id)
    result, _ = await imported(source)
    assert "--text-ids" in result.reasons[0].reason


async def test_labels_by_mapping_and_default(tmp_path: Path) -> None:
    row = {"create_time": "2026-05-01T10:00:00Z", "prompt_tokens": 1, "completion_tokens": 1, "metadata": {"k": 7}}
    row |= {"labels": {"feature": "search", "weight": 1.5, "none": None}, "provider": "openai", "tags": ["a"]}
    source = write_jsonl(tmp_path / "a.jsonl", row)
    result, [call] = await imported(
        source,
        mapping={"labels.key": "metadata.k", "labels.provider": None},
        defaults={"labels.team": "t", "labels.feature": "not this"},
    )
    assert call.labels == {"feature": "search", "weight": "1.5", "key": "7", "team": "t"}
    assert result.ignored == ("provider", "tags")


async def test_the_model_that_answered(tmp_path: Path) -> None:
    row = {"timestamp": "2026-05-01T10:00:00Z", "gen_ai.usage.input_tokens": 1, "gen_ai.usage.output_tokens": 2}
    asked, served = {"gen_ai.request.model": "gpt-4o"}, {"gen_ai.response.model": "gpt-4o-2024-08-06"}
    source = write_jsonl(tmp_path / "a.jsonl", row | {"attributes": asked | served}, row | served)
    _, calls = await imported(source)
    assert {(call.model_name, call.labels.get("served_model")) for call in calls} == {
        ("gpt-4o", "gpt-4o-2024-08-06"),
        ("gpt-4o-2024-08-06", None),
    }


async def test_litellms_spend_logs(tmp_path: Path) -> None:
    columns = "request_id,call_type,api_key,spend,total_tokens,prompt_tokens,completion_tokens,startTime,endTime,model"
    values = "chatcmpl-1,acompletion,88dc28,2.0000000000000002e-05,30,10,20,2026-05-01 12:00:00,2026-05-01 12:00:01.5,m"
    result, [call] = await imported(write(tmp_path / "a.csv", columns, values))
    assert (call.total_price, call.latency_ms, call.total_tokens) == (Decimal("0.00002"), 1500, 30)
    assert call.labels == {"request_id": "chatcmpl-1"}
    assert (result.rounded_prices, result.ignored) == (1, ())  # a tool's format says what of it counts


async def test_columns_of_an_export_come_back(tmp_path: Path) -> None:
    """Names are joined to exported calls; nothing else than these is added to what was exported."""
    call = LLMApiCall.model_validate(
        {
            **dict.fromkeys(("chat_session_id", "agent_id", "user_id"), UUID(int=1)),
            **{"model_name": "m", "status": "failed", "error_message": " odd ", "prompt_tokens": 5},
            **{"completion_tokens": 0, "total_tokens": 99, "labels": {"feature": "x", "attempt": "2"}},
            "prompt_tokens_details": {"cached_tokens": 2, "more": [None]},
            "completion_tokens_details": {"token_source": "partial"},
        }
    )
    row: dict[str, Any] = json.loads(call.model_dump_json())
    labels = row.pop("labels")
    row |= {f"labels.{name}": value for name, value in labels.items()} | {"operation": "chat", "currency": None}
    row |= {"completion_tokens": None, "cached_tokens": 2, "token_source": "partial"}
    row |= {"agent_name": "Helper", "provider_name": "openai"}
    [back] = (await imported(write_jsonl(tmp_path / "a.jsonl", row)))[1]
    assert back == call.model_copy(update={"labels": labels | {"agent": "Helper", "provider": "openai"}})


async def test_only_columns_with_values_that_were_not_used_are_named(tmp_path: Path) -> None:
    header = f"{HEADER},empty,status,cache_read_input_tokens,note,model,user_id"
    result, _ = await imported(write(tmp_path / "a.csv", header, f"{GOOD},,,3,x,same,", f"{GOOD},,OK,3,,same,"))
    assert result.ignored == ("note", "model")
