"""Spans as emitters make them: names, attributes and events, taken down from each against the tests' server of models.

Taken down in November 2026 from opentelemetry-instrumentation-genai-openai 1.3b0, Traceloop's
opentelemetry-instrumentation-openai and -anthropic 0.62.4, openinference-instrumentation-openai 0.1.66 and -anthropic
3.1.0, anthropic 2.14.0 and pydantic-ai-slim 2.68.0. That of opentelemetry-instrumentation-openai-v2 2.4b0 is after its
documentation, for it does not work with the SDK of today; older ones are too.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

QUESTION, ANSWER = "What is Rust in a few words", "Rust is a language"


def parts(*messages: tuple[str, str], **further: Any) -> str:
    """Messages in OpenTelemetry's JSON."""
    return json.dumps(
        [{"role": role, "parts": [{"type": "text", "content": text}], **further} for role, text in messages]
    )


@dataclass(frozen=True)
class Emitted:
    """A span of an emitter, with what a recorder is to make of it; `scope` is the instrumentation's name."""

    scope: str
    name: str
    attributes: Mapping[str, Any]
    events: Sequence[tuple[str, Mapping[str, Any]]] = ()
    status: str = "UNSET"
    labels: Mapping[str, str] = field(default_factory=dict)
    details: Mapping[str, int] = field(default_factory=dict)
    says_content: bool = True
    response_id: str | None = "c-1"
    first_ms: int | None = None

    def but(self, **attributes: Any) -> "Emitted":
        """The same with other attributes; None leaves one out. Underscores of a name are dots."""
        changed = {name.replace("__", "."): value for name, value in attributes.items()}
        merged = {name: value for name, value in {**self.attributes, **changed}.items() if value is not None}
        return Emitted(self.scope, self.name, merged, self.events, self.status)


SAID = {
    "gen_ai.input.messages": parts(("system", "Be brief"), ("user", QUESTION)),
    "gen_ai.output.messages": parts(("assistant", ANSWER), finish_reason="stop"),
}
TOKENS = {"gen_ai.usage.input_tokens": 9, "gen_ai.usage.output_tokens": 4, "gen_ai.usage.cache_read.input_tokens": 2}
MODELS = {"gen_ai.request.model": "gpt-4o", "gen_ai.response.model": "gpt-4o-2026", "gen_ai.response.id": "c-1"}
CHAT = {"gen_ai.operation.name": "chat", "gen_ai.response.finish_reasons": ("stop",)}
SERVED = {"served_model": "gpt-4o-2026", "provider": "openai"}

GENAI_OPENAI = Emitted(
    "opentelemetry.instrumentation.genai.openai",
    "chat gpt-4o",
    {
        **(SAID | TOKENS | MODELS | CHAT),
        "gen_ai.provider.name": "openai",
        "gen_ai.request.stream": True,
        "gen_ai.response.time_to_first_chunk": 0.0575,
        "gen_ai.usage.cache_write.input_tokens": 1,
        "gen_ai.usage.reasoning.output_tokens": 1,
        "openai.response.service_tier": "default",
        "server.address": "127.0.0.1",
        "server.port": 43377,
    },
    labels={**SERVED, "service_tier": "default"},
    details={"cached_tokens": 2, "cache_write_tokens": 1, "reasoning_tokens": 1},
    first_ms=57,
)
OPENAI_V2 = Emitted(
    "opentelemetry.instrumentation.openai_v2",
    "chat gpt-4o",
    {
        **(MODELS | CHAT),
        "gen_ai.system": "openai",
        "gen_ai.usage.input_tokens": 9,
        "gen_ai.usage.output_tokens": 4,
        "gen_ai.openai.response.service_tier": "default",
        "server.address": "api.openai.com",
    },
    labels={**SERVED, "service_tier": "default"},
    says_content=False,
)
TRACELOOP_OPENAI = Emitted(
    "opentelemetry.instrumentation.openai.v1",
    "openai.chat",
    {
        **(SAID | TOKENS | MODELS | CHAT),
        "gen_ai.provider.name": "openai",
        "gen_ai.is_streaming": False,
        "gen_ai.openai.api_base": "http://127.0.0.1:36029/v1/",
        "gen_ai.usage.reasoning_tokens": 1,
        "gen_ai.usage.total_tokens": 13,
        "openai.response.service_tier": "default",
    },
    status="OK",
    labels={**SERVED, "service_tier": "default"},
    details={"cached_tokens": 2, "reasoning_tokens": 1},
)
TRACELOOP_ANTHROPIC = Emitted(
    "opentelemetry.instrumentation.anthropic",
    "anthropic.chat",
    {
        **(TOKENS | CHAT),
        "gen_ai.input.messages": parts(("user", QUESTION)),
        "gen_ai.output.messages": SAID["gen_ai.output.messages"],
        "gen_ai.system_instructions": '[{"type": "text", "content": "Be brief"}]',
        "gen_ai.provider.name": "anthropic",
        "gen_ai.request.model": "claude",
        "gen_ai.request.max_tokens": 9,
        "gen_ai.response.id": "c-1",
        "gen_ai.response.model": "claude-2026",
        "gen_ai.usage.cache_creation.input_tokens": 3,
        "gen_ai.usage.total_tokens": 13,
    },
    status="OK",
    labels={"served_model": "claude-2026", "provider": "anthropic"},
    details={"cached_tokens": 2, "cache_write_tokens": 3},
)
OPENINFERENCE_OPENAI = Emitted(
    "openinference.instrumentation.openai",
    "ChatCompletion",
    {
        "openinference.span.kind": "LLM",
        "llm.system": "openai",
        "input.mime_type": "application/json",
        "input.value": '{"model": "gpt-4o"}',
        "llm.invocation_parameters": '{"model": "gpt-4o", "stream": true}',
        "llm.input_messages.0.message.role": "system",
        "llm.input_messages.0.message.content": "Be brief",
        "llm.input_messages.1.message.role": "user",
        "llm.input_messages.1.message.content": QUESTION,
        "llm.output_messages.0.message.role": "assistant",
        "llm.output_messages.0.message.content": ANSWER,
        "llm.finish_reason": "stop",
        "llm.model_name": "gpt-4o-2026",
        "llm.token_count.prompt": 9,
        "llm.token_count.completion": 4,
        "llm.token_count.total": 13,
        "llm.token_count.prompt_details.cache_read": 2,
        "llm.token_count.completion_details.reasoning": 1,
        "output.mime_type": "application/json",
        "output.value": '{"id": "c-1", "model": "gpt-4o-2026", "service_tier": "default"}',
    },
    events=[("First Token Stream Event", {})],
    status="OK",
    labels={**SERVED, "service_tier": "default"},
    details={"cached_tokens": 2, "reasoning_tokens": 1},
    first_ms=40,
)
OPENINFERENCE_ANTHROPIC = Emitted(
    "openinference.instrumentation.anthropic",
    "messages.create",
    {
        "openinference.span.kind": "LLM",
        "llm.system": "anthropic",
        "llm.provider": "anthropic",
        "llm.invocation_parameters": '{"max_tokens": 9}',
        "llm.input_messages.0.message.role": "system",
        "llm.input_messages.0.message.content": "Be brief",
        "llm.input_messages.1.message.role": "user",
        "llm.input_messages.1.message.content": QUESTION,
        "llm.output_messages.0.message.role": "assistant",
        "llm.output_messages.0.message.contents.0.message_content.type": "text",
        "llm.output_messages.0.message.contents.0.message_content.text": ANSWER,
        "llm.finish_reason": "end_turn",
        "llm.model_name": "claude-2026",
        "llm.request.model_name": "claude",
        "llm.response.model_name": "claude-2026",
        "llm.token_count.prompt": 9,
        "llm.token_count.completion": 4,
        "llm.token_count.total": 13,
        "llm.token_count.prompt_details.cache_read": 2,
        "llm.token_count.prompt_details.cache_write": 3,
        "output.mime_type": "application/json",
        "output.value": '{"id": "c-1", "model": "claude-2026", "stop_reason": "end_turn"}',
    },
    status="OK",
    labels={"served_model": "claude-2026", "provider": "anthropic"},
    details={"cached_tokens": 2, "cache_write_tokens": 3},
)
ANTHROPIC_OWN = Emitted(
    "com.anthropic.sdk.python",
    "anthropic.messages.create",
    {
        **TOKENS,
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "anthropic",
        "gen_ai.request.model": "claude",
        "gen_ai.request.stream": True,
        "gen_ai.response.id": "c-1",
        "gen_ai.response.model": "claude-2026",
        "gen_ai.response.time_to_first_chunk": 0.108,
        "gen_ai.usage.cache_write.input_tokens": 3,
        "gen_ai.usage.reasoning.output_tokens": 1,
        "anthropic.message.stop_reason": "end_turn",
        "anthropic.request.id": "req-7",
        "anthropic.response.service_tier": "standard",
        "anthropic.usage.cache_creation.ephemeral_5m_input_tokens": 1,
        "anthropic.usage.cache_creation.ephemeral_1h_input_tokens": 2,
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "http.route": "/v1/messages",
        "server.address": "127.0.0.1",
        "url.full": "http://127.0.0.1:36029/v1/messages",
    },
    status="OK",
    labels={
        "served_model": "claude-2026",
        "provider": "anthropic",
        "request_id": "req-7",
        "service_tier": "standard",
    },
    details={
        "cached_tokens": 2,
        "cache_write_tokens": 3,
        "cache_write_5m_tokens": 1,
        "cache_write_1h_tokens": 2,
        "reasoning_tokens": 1,
    },
    says_content=False,
    first_ms=108,
)
PYDANTIC_AI = Emitted(
    "pydantic-ai",
    "chat gpt-4o",
    {
        **(SAID | TOKENS | MODELS | CHAT),
        "gen_ai.provider.name": "openai",
        "gen_ai.system": "openai",
        "gen_ai.agent.name": "ag",
        "gen_ai.client.operation.time_to_first_chunk": 0.0153,
        "gen_ai.usage.details.cache_read_tokens": 2,
        "gen_ai.usage.details.reasoning_tokens": 1,
        "logfire.json_schema": "{}",
        "model_request_parameters": "{}",
        "server.address": "127.0.0.1",
    },
    labels={**SERVED, "agent": "ag"},
    details={"cached_tokens": 2, "reasoning_tokens": 1},
    first_ms=15,
)
PYDANTIC_AGENT = Emitted(
    "pydantic-ai",
    "invoke_agent ag",
    {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": "ag",
        "model_name": "gpt-4o",
        "gen_ai.conversation.id": "ticket-7",
        "gen_ai.aggregated_usage.input_tokens": 18,
        "gen_ai.aggregated_usage.output_tokens": 8,
    },
)
CALLS = {
    "genai-openai": GENAI_OPENAI,
    "openai-v2": OPENAI_V2,
    "traceloop openai": TRACELOOP_OPENAI,
    "traceloop anthropic": TRACELOOP_ANTHROPIC,
    "openinference openai": OPENINFERENCE_OPENAI,
    "openinference anthropic": OPENINFERENCE_ANTHROPIC,
    "anthropic": ANTHROPIC_OWN,
    "pydantic-ai": PYDANTIC_AI,
}
AROUND = {
    "agent of pydantic-ai": PYDANTIC_AGENT,
    "tool": Emitted("pydantic-ai", "execute_tool", {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "w"}),
    "agent with usage": Emitted("any", "agent", {**TOKENS, **MODELS, "gen_ai.operation.name": "invoke_agent"}),
    "agent of OpenInference": Emitted("any", "a", {"openinference.span.kind": "AGENT", "llm.token_count.prompt": 9}),
    "chain of OpenInference": Emitted("any", "c", {"openinference.span.kind": "CHAIN", "llm.model_name": "gpt-4o"}),
    "workflow of Traceloop": Emitted("any", "w", {"traceloop.span.kind": "workflow", **TOKENS}),
    "counting of tokens": Emitted(
        "com.anthropic.sdk.python",
        "anthropic.messages.count_tokens",
        {"gen_ai.provider.name": "anthropic", "gen_ai.request.model": "claude"},
    ),
    "another request": Emitted("any", "GET", {"http.request.method": "GET", "http.response.status_code": 500}),
}
