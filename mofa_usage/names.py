"""What the fields of a call are called elsewhere: one table.

Names are plain ones (`plain_name`): `startTime`, `Start Time` and `start_time` are one, `gen_ai.request.model` is
`gen_ai_request_model`. Of the names of a field the first that has a value counts. What tokens are called, and what that
means, is known to `mofa_usage.tokens`; how calls end to `mofa_usage.outcomes`.

Besides the fields of a call there are

- `labels.NAME`: what becomes a label, because a name in text says more than a UUID;
- `outcome.NAME`: what says how a call ended: the arguments of `outcome_of`;
- `time.NAME`: instants from which durations follow;
- `span.NAME`: what tells a call from what is around it in a trace (`spans.py`).

A duration is taken where its unit is known: because the name says it (`duration_seconds`, `latencyMs`), because a
convention does (OpenTelemetry's are seconds), or because it is one by its type, as Parquet and frames have them. A
number called `latency` could be anything.
"""

from collections.abc import Iterator, Mapping

from mofa_usage.tokens.names import plain_name

__all__ = [
    "DURATIONS",
    "FIELD_NAMES",
    "NO_CALLS",
    "milliseconds_of_unit",
    "operation_label",
    "plain_name",
    "says_unit",
]

_UNITS: Mapping[str, str] = {
    **dict.fromkeys(("ms", "msec", "millis", "milliseconds"), "1"),
    **dict.fromkeys(("s", "sec", "secs", "seconds"), "1000"),
    **dict.fromkeys(("us", "usec", "micros", "microseconds"), "0.001"),
    **dict.fromkeys(("ns", "nsec", "nano", "nanos", "nanoseconds"), "0.000001"),
}
_IN_MILLISECONDS = ("ms_to_first_chunk", "ms_to_finish")
_IN_SECONDS = ("time_to_first_chunk", "gen_ai_server_time_to_first_token", "gen_ai_client_operation_duration")


DURATIONS = (
    *("latency", "duration", "response_time", "elapsed", "elapsed_time", "execution_time"),
    *("total_latency", "total_duration", "request_duration", "request_latency", "e_2e_latency", "delay"),
)
"""What the duration of a call is called, before the unit."""


_FIRST_TOKENS = ("time_to_first_token", "ttft", "first_token_latency", "first_token")


def _with_units(*stems: str) -> Iterator[str]:
    return (f"{stem}_{unit}" for stem in stems for unit in _UNITS)


def milliseconds_of_unit(name: str) -> str:
    """How many milliseconds the unit of a duration's name is, as a number's text; 1 where it does not say."""
    plain = plain_name(name)
    if plain.endswith(_IN_SECONDS):
        return "1000"
    return _UNITS.get(plain.rpartition("_")[2], "1") if "_" in plain else "1"


def says_unit(name: str) -> bool:
    """Whether the name of a duration tells its unit, by itself or by convention."""
    plain = plain_name(name)
    return plain.endswith((*_IN_SECONDS, *_IN_MILLISECONDS)) or plain.rpartition("_")[2] in _UNITS


_NO_CALLS = {
    "span.kind": (
        "agent chain tool retriever workflow task span event guardrail evaluator evaluation parser output_parser "
        "prompt memory function"
    ),
    "span.operation": "invoke_agent create_agent execute_tool invoke_workflow retrieval plan fetch_response",
}
NO_CALLS: Mapping[str, frozenset[str]] = {field: frozenset(kinds.split()) for field, kinds in _NO_CALLS.items()}
"""What a span says that is no call of a model, though many write the tokens of the calls beneath it there too."""

# What a chat is called elsewhere; a chat has no label `operation`. LiteLLM calls the others by its functions.
_CHATS = {"chat", "completion", "acompletion", "chat_completion", "chat_completions"}
_OPERATIONS = {
    "embedding": "embeddings",
    "aembedding": "embeddings",
    "atext_completion": "text_completion",
    "aimage_generation": "image_generation",
}


def operation_label(operation: str) -> str | None:
    """The label `operation` of what is called so elsewhere; None for a chat."""
    return None if operation.casefold() in _CHATS else _OPERATIONS.get(operation, operation)


_END_TIMES = "end_time ended_at end_timestamp finished_at completed_at end_time_unix_nano request_end_time"

FIELD_NAMES: Mapping[str, tuple[str, ...]] = {
    field: tuple(names.split()) if isinstance(names, str) else tuple(names)
    for field, names in {
        "id": "id",
        "chat_session_id": "chat_session_id session_id gen_ai_conversation_id",
        "agent_id": "agent_id gen_ai_agent_id",
        "user_id": "user_id end_user_id enduser_id user end_user",
        "tenant_id": "tenant_id",
        "request_message_id": "request_message_id",
        "response_message_id": "response_message_id",
        "model_name": (
            "model_name model gen_ai_request_model request_model llm_request_model_name llm_model_name "
            "llm_request_model gen_ai_response_model response_model llm_response_model embedding_model_name "
            "ai_model_id model_id"
        ),
        "total_price": (
            "total_price total_cost cost response_cost spend cost_usd total_cost_usd total_price_usd gen_ai_usage_cost "
            "llm_cost_total calculated_total_cost usage_cost usage_cost_total usage_cost_total_cost cost_total "
            "cost_amount cost_details_total gen_ai_usage_total_cost cost_in_usd request_cost llm_cost estimated_cost"
        ),
        "price_details": "price_details",
        "price_details.input_price": "input_price input_cost prompt_cost llm_cost_prompt calculated_input_cost "
        "usage_cost_input cost_input cost_details_input",
        "price_details.output_price": "output_price output_cost completion_cost llm_cost_completion "
        "calculated_output_cost usage_cost_output cost_output cost_details_output",
        "price_details.currency": "currency price_currency cost_currency currency_code billing_currency",
        "latency_ms": [
            *_with_units(*DURATIONS),
            *("gen_ai_client_operation_duration", "ai_response_ms_to_finish"),
            *DURATIONS,
        ],
        "time_to_first_token_ms": [
            *_with_units(*_FIRST_TOKENS, "time_to_first_chunk"),
            *("gen_ai_response_time_to_first_chunk", "gen_ai_server_time_to_first_token"),
            *("ai_response_ms_to_first_chunk", "ai_stream_ms_to_first_chunk", "ms_to_first_chunk"),
            *_FIRST_TOKENS,
        ],
        "tokens_per_second": "tokens_per_second output_tokens_per_second",
        "api_response_id": "api_response_id response_id gen_ai_response_id",
        "create_time": (
            "create_time start_time started_at start_timestamp request_time request_start_time start_time_unix_nano "
            "created_at timestamp created request_created_at request_timestamp datetime ts"
        ),
        "update_time": f"update_time {_END_TIMES} updated_at",
        "time.end": _END_TIMES,
        "time.first_token": "completion_start_time first_token_time first_token_at",
        "labels": "labels",
        "labels.provider": (
            "provider provider_name gen_ai_provider_name gen_ai_system llm_provider llm_system custom_llm_provider "
            "model_provider ai_model_provider"
        ),
        "labels.project": "project project_name",
        "labels.api_key": "api_key_name api_key_alias key_name key_alias user_api_key_alias",
        "labels.user": "user_name username user_email user_api_key_user_email",
        "labels.session": "session_name",
        "labels.agent": "agent_name agent gen_ai_agent_name",
        "labels.team": "team team_name team_alias",
        "labels.environment": "environment env deployment_environment deployment_environment_name",
        "labels.service_tier": "service_tier openai_response_service_tier anthropic_response_service_tier "
        "gen_ai_openai_response_service_tier",
        "labels.request_id": "request_id anthropic_request_id",
        "labels.served_model": "served_model gen_ai_response_model response_model llm_response_model_name "
        "llm_response_model",
        "labels.operation": "operation gen_ai_operation_name operation_name call_type",
        "labels.attempt": "attempt",
        "labels.retried": "retried",
        "outcome.status": "status",
        "outcome.error": "error exception err",
        "outcome.error_message": "error_message status_message status_description exception_message error_msg "
        "error_text error_description error_detail",
        "outcome.error_code": "error_code error_type exception_type error_class error_name exception_class",
        "outcome.level": "level log_level severity",
        "outcome.http_status": "http_status http_status_code http_response_status_code response_status "
        "response_status_code http_code response_code",
        "outcome.status_code": "status_code otel_status_code status_status_code",
        "outcome.finish_reason": "finish_reason stop_reason",
        "outcome.grpc_status": "grpc_status grpc_status_code rpc_grpc_status_code",
        "outcome.success": "success is_success succeeded successful",
        "outcome.is_error": "is_error has_error failed is_failed",
        "outcome.cancelled": "cancelled canceled is_cancelled is_canceled",
        "outcome.timed_out": "timed_out is_timeout",
        "span.id": "span_id context_span_id observation_id run_id",
        "span.parent": "parent_id parent_span_id parent_observation_id parent_run_id",
        "span.kind": "openinference_span_kind span_kind mlflow_span_type span_type traceloop_span_kind run_type "
        "observation_type",
        "span.operation": "gen_ai_operation_name operation_name operation",
    }.items()
}
"""field -> the plain names of columns that say it, the best one first."""
