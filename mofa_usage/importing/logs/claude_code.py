"""Claude Code's sessions: `~/.claude/projects/PROJECT/SESSION.jsonl`, and its subagents' in folders beside them.

Every line is an event; a call is a line of type `assistant`, with the provider's answer as its `message`. An answer is
written once for each of its blocks while it streams in, with counts that grow, and again where a session is resumed or
forked, and a subagent's also to the session that started it (`progress`): lines with the same `message.id` and
`requestId` are one call, of which the line with the most output says most.

Answers of the model `<synthetic>` Claude Code wrote itself. Those that report an error of the API are calls that
failed, as are the `api_error` events, each an attempt that was tried again.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mofa_usage.importing.logs import LogFormat, Sample
from mofa_usage.importing.logs.parts import project_of
from mofa_usage.importing.source import NO_CALL, Identity, SourceRow

__all__ = ["CLAUDE_CODE"]

_OWN_WORDS = "answers that Claude Code wrote itself"
_TYPES = {"user", "assistant", "system", "summary", "progress", "attachment", "file-history-snapshot"}
_HTTP = re.compile(r"API Error:? \(?(\d{3})\b")
_SELLERS = {"msg_bdrk_": "aws", "msg_vrtx_": "gcp.vertex_ai", "msg_0": "anthropic"}
_USUAL = (("speed", "standard"), ("inference_geo", ""), ("inference_geo", "not_available"))
_LONGEST_MESSAGE = 1_000  # characters of an error


class _Session:
    """One file: what its earlier lines say about the later ones."""

    def __init__(self, path: Path | None) -> None:
        self._project = None if path is None else _folder_of(path)
        self._has_cwd = False
        self._models: dict[bool, str] = {}  # of the last answer, aside and not

    def row(self, row: SourceRow, record: Mapping[str, Any]) -> SourceRow:
        """What a line is."""
        self._note_project(record)
        match record.get("type"):
            case "assistant":
                return self._answer(row, record)
            case "progress" if isinstance(inner := _nested(record), Mapping):
                return self._answer(row, {**record, **inner, "isSidechain": True})
            case "system" if record.get("subtype") == "api_error":
                return self._attempt(row, record)
        return row._replace(values=None, left_out=NO_CALL)

    def _answer(self, row: SourceRow, record: Mapping[str, Any]) -> SourceRow:
        message = record.get("message")
        if not isinstance(message, Mapping):
            return row._replace(values=None, problem="an answer without its message")
        if record.get("isApiErrorMessage"):
            return self._failed(row, record, _error_of_answer(record, message))
        model = message.get("model")
        if model == "<synthetic>":
            return row._replace(values=None, left_out=_OWN_WORDS)
        if isinstance(model, str):
            self._models[_is_aside(record)] = model
        usage = _usage(message.get("usage"))
        output, answer = usage.get("output_tokens"), message.get("id")
        values = self._fields(record) | {
            "model_name": model,
            "usage": usage,
            "api_response_id": answer,
            "latency_ms": record.get("durationMs"),  # of versions before 1.0.1
            "labels.provider": _seller(answer),
        }
        request = record.get("requestId") or ""
        weight = output if type(output) is int else 0
        time = _text(record.get("timestamp"))
        identity = Identity(f"claude-code:{answer}:{request}", weight, time) if answer else None
        return row._replace(values=values, identity=identity)

    def _attempt(self, row: SourceRow, record: Mapping[str, Any]) -> SourceRow:
        """An attempt that was tried again."""
        retry = {"labels.retried": "true", "labels.attempt": record.get("retryAttempt")}
        return self._failed(row, record, {**_error_of_event(record), **retry})

    def _failed(self, row: SourceRow, record: Mapping[str, Any], error: Mapping[str, Any]) -> SourceRow:
        values = {**self._fields(record), "model_name": self._models.get(_is_aside(record)), "status": "error", **error}
        event = record.get("uuid")
        identity = Identity(f"claude-code:{event}", 0, _text(record.get("timestamp"))) if event else None
        return row._replace(values=values, identity=identity)

    def _fields(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """What every call says."""
        return {
            "create_time": record.get("timestamp"),
            "session_id": record.get("sessionId"),
            "labels.request_id": record.get("requestId"),
            "labels.agent": "Claude Code subagent" if _is_aside(record) else "Claude Code",
            "labels.project": self._project,
            "labels.branch": record.get("gitBranch"),
            "labels.tool_version": record.get("version"),
        }

    def _note_project(self, record: Mapping[str, Any]) -> None:
        """The project is where the session began: its working folder may change."""
        if not self._has_cwd and isinstance(cwd := record.get("cwd"), str) and cwd:
            self._has_cwd = True
            self._project = project_of(cwd)


def _folder_of(path: Path) -> str | None:
    """The project by the folder of a file, as Claude Code writes it there: without slashes."""
    parts = path.absolute().parts
    if "projects" in parts[:-1]:
        place = len(parts) - 1 - parts[::-1].index("projects")
        return parts[place + 1] if place + 2 < len(parts) else None
    return None


def _is_aside(record: Mapping[str, Any]) -> bool:
    """Whether a subagent made the call."""
    return bool(record.get("isSidechain") or record.get("agentId"))


def _usage(said: Any) -> dict[str, Any]:
    """The counts of an answer. Its `iterations` say the same for each of its parts; the usual terms say nothing."""
    items = said.items() if isinstance(said, Mapping) else ()
    return {key: value for key, value in items if key != "iterations" and (key, value) not in _USUAL}


def _nested(record: Mapping[str, Any]) -> Any:
    """The event of a subagent inside one of the session that started it."""
    data = record.get("data")
    inner = data.get("message") if isinstance(data, Mapping) else None
    return inner if isinstance(inner, Mapping) and inner.get("type") == "assistant" else None


def _error_of_answer(record: Mapping[str, Any], message: Mapping[str, Any]) -> dict[str, Any]:
    content = message.get("content")
    blocks = content if isinstance(content, list) else []
    texts = [block.get("text") for block in blocks if isinstance(block, Mapping)]
    text = " ".join(text for text in texts if isinstance(text, str))[:_LONGEST_MESSAGE]
    code = _HTTP.search(text)
    nested = record.get("apiError")
    said = [record.get("apiErrorStatus"), nested.get("status") if isinstance(nested, Mapping) else None]
    status = next((one for one in said if type(one) is int), code.group(1) if code else None)
    kind = record.get("error")
    kind = kind if isinstance(kind, str) else None if text else "api_error"
    return {"error_message": text, "error_code": kind, "http_status": status}


def _error_of_event(record: Mapping[str, Any]) -> dict[str, Any]:
    error, cause = record.get("error"), record.get("cause")
    error = error if isinstance(error, Mapping) else {}
    inner = error
    while isinstance(deeper := inner.get("error"), Mapping):
        inner = deeper
    if not isinstance(cause, Mapping):
        cause = error.get("cause")
    status = error.get("status", record.get("api_error_status"))
    kind = inner.get("type") or (cause.get("code") if isinstance(cause, Mapping) else None)
    message = inner.get("message")
    return {
        "error_message": message[:_LONGEST_MESSAGE] if isinstance(message, str) else None,
        "error_code": kind if isinstance(kind, str) else str(status or "api_error"),
        "http_status": status,
        "labels.request_id": error.get("requestID"),
    }


def _seller(said: Any) -> str | None:
    """Whose answer it is, by how the ids of its answers begin."""
    known = _SELLERS.items() if isinstance(said, str) else ()
    return next((seller for start, seller in known if said.startswith(start)), None)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _recognises(sample: Sample) -> bool:
    return any(
        str(row.get("type")) in _TYPES
        and (("sessionId" in row and "uuid" in row) or "leafUuid" in row or isinstance(row.get("snapshot"), Mapping))
        for row in sample.rows
    )


def _calls(rows: Iterable[SourceRow], path: Path | None) -> Iterator[SourceRow]:
    session = _Session(path)
    for row in rows:
        yield row if row.values is None else session.row(row, row.values)


CLAUDE_CODE = LogFormat("Claude Code session logs", _recognises, _calls, marks=("assistant", "api_error"))
