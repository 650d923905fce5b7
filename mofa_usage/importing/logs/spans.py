"""A span of a trace as a call, whoever wrote it: by OpenTelemetry's names or by OpenInference's.

A span is a call of a model where its attributes say a model and nothing says that it is something else: an agent, a
chain, a tool (`mofa_usage.names`). Whether its tokens are those of the spans beneath it is found out as everywhere
(`importing/spans.py`), for which the other spans are handed on, too, though left out.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["NO_INFERENCE", "first_token_of", "is_inference", "said_by", "thrown_by"]

NO_INFERENCE = "spans that are no calls of a model"
_TAKEN = re.compile(
    r"(?:gen_ai|llm|embedding|openinference|traceloop|mlflow|ai|session|user|enduser|error|http|rpc|deployment|openai"
    r"|anthropic|aws|service_tier|metadata)\b"
)
# What was said, not what it took.
_CONTENT = re.compile(
    r"messages|\.\d+\.|(?<!token_count)\.(?:prompts?|completion)$|\.choices|tools?\b|tool_calls|invocation_parameters|\.value$|headers"
    r"|system_instructions|prompt_template|embeddings\b"
)
_MODELS = (
    *("gen_ai.request.model", "gen_ai.response.model", "llm.model_name", "embedding.model_name"),
    *("llm.request.model", "llm.response.model", "ai.model.id"),
)
_CALLS = {"LLM", "EMBEDDING", "CHAT_MODEL", "GENERATION"}
_FIRST_TOKENS = {"first token stream event", "gen_ai.first_token", "llm.first_token", "ai.stream.firstchunk"}


def said_by(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the attributes that say something about the call, and none that hold what was talked about."""
    return {
        name: value
        for name, value in attributes.items()
        if _TAKEN.match(name) and not _CONTENT.search(name) and not isinstance(value, list)
    }


def is_inference(attributes: Mapping[str, Any]) -> bool:
    """Whether a span may be a call of a model."""
    kind = attributes.get("openinference.span.kind")
    if isinstance(kind, str):
        return kind.upper() in _CALLS
    return any(attributes.get(name) for name in _MODELS)


def thrown_by(events: Sequence[Any]) -> dict[str, Any]:
    """What the last exception among a span's events says, each with its `name` and `attributes`."""
    for event in reversed(events):
        if isinstance(event, Mapping) and event.get("name") == "exception":
            said = event.get("attributes")
            said = said if isinstance(said, Mapping) else {}
            return {"exception.type": said.get("exception.type"), "exception.message": said.get("exception.message")}
    return {}


def first_token_of(events: Sequence[Any]) -> Any:
    """When the first token came, where an event says it; events have their `name` and `time`."""
    for event in events:
        if isinstance(event, Mapping) and str(event.get("name")).casefold() in _FIRST_TOKENS:
            return event.get("time")
    return None
