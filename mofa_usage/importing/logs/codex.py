"""Codex's sessions: `~/.codex/sessions/YYYY/MM/DD/rollout-TIME-ID.jsonl`.

A line is `{timestamp, type, payload}`. After every answer there is an event `token_count` with the counts of the whole
session so far (`total_token_usage`) and of the last answer. It is also written when nothing was asked: again with the
same totals, or with the rate limits alone. So a call is what the totals grew by; where they are lower than before, the
counter began again and the last counts are the call's. The model is the one of the last `turn_context`.

A forked session, and that of a subagent, begins with a copy of all that its parent did, stamped anew. The copy ends
where Codex says so (`subagent_history_start_ordinal`), or with the first turn that is younger than the session: the ids
of both are UUIDs of version 7, which begin with a time.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from mofa_usage.importing.logs import LogFormat, Sample
from mofa_usage.importing.logs.parts import as_object, project_of
from mofa_usage.importing.repeats import SAID_AGAIN
from mofa_usage.importing.source import NO_CALL, Identity, SourceRow

__all__ = ["CODEX"]

_LIMITS = "notices of rate limits"
_COPIED = "calls of the session that one was forked from"
_TYPES = {"session_meta", "turn_context", "event_msg", "response_item", "compacted"}
_COUNTS = ("input_tokens", "cached_input_tokens", "output_tokens", "reasoning_output_tokens")
_COPYING = timedelta(seconds=5)  # after which a line is no copy, where turns have no ids with a time


class _Session:
    """One file: what its earlier lines say about the later ones."""

    def __init__(self) -> None:
        self._fields: dict[str, Any] | None = None
        self._model: Any = None
        self._totals: Mapping[str, Any] | None = None
        self._copy: _Copy | None = None

    def row(self, row: SourceRow, record: Mapping[str, Any]) -> SourceRow:
        """What a line is."""
        payload = as_object(record.get("payload"))
        kind = payload.get("type") if record.get("type") == "event_msg" else record.get("type")
        if kind == "session_meta" and self._fields is None:
            self._begin(record, payload)
        elif kind == "thread_settings_applied":
            self._model = as_object(payload.get("thread_settings")).get("model") or self._model
        elif kind == "turn_context":
            self._model = payload.get("model") or self._model
        if self._copy is not None and self._copy.ends_at(record, payload):
            self._copy = None
        if kind == "token_count":
            return self._counted(row, record, payload.get("info"))
        return row._replace(values=None, left_out=NO_CALL)

    def _begin(self, record: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
        source = as_object(meta.get("source"))
        is_aside = meta.get("thread_source") == "subagent" or "subagent" in source
        self._fields = {
            "session_id": meta.get("id"),
            "labels.agent": "Codex subagent" if is_aside else "Codex",
            "labels.project": project_of(meta.get("cwd")),
            "labels.branch": as_object(meta.get("git")).get("branch"),
            "labels.tool_version": meta.get("cli_version"),
            "labels.provider": meta.get("model_provider"),
        }
        if is_aside or meta.get("forked_from_id"):
            self._copy = _Copy(meta, record.get("timestamp"))

    def _counted(self, row: SourceRow, record: Mapping[str, Any], info: Any) -> SourceRow:
        info = as_object(info)
        totals, last = as_object(info.get("total_token_usage")), as_object(info.get("last_token_usage"))
        if not (totals or last):
            return row._replace(values=None, left_out=_LIMITS)
        if not all(type(counts.get(name, 0)) is int for counts in (totals, last) for name in _COUNTS):
            return row._replace(values=None, problem="a count of tokens is not a whole number")
        before, self._totals = self._totals, totals or self._totals
        if self._copy is not None:
            return row._replace(values=None, left_out=_COPIED)
        if totals and totals == before:
            return row._replace(values=None, left_out=SAID_AGAIN)
        usage = _grown(before, totals, last)
        if not any(usage.values()):
            return row._replace(values=None, left_out=NO_CALL)
        time = record.get("timestamp")
        values = {**(self._fields or {}), "create_time": time, "model_name": self._model, "usage": usage}
        session = values.get("session_id")
        key = f"codex:{session}:{time}:{sorted(totals.items())}"
        return row._replace(values=values, identity=Identity(key) if session else None)


class _Copy:
    """The copy of a parent's history at the beginning of a session, and where it ends."""

    def __init__(self, meta: Mapping[str, Any], time: Any) -> None:
        self._first_own = meta.get("subagent_history_start_ordinal")
        self._time = _time(meta.get("timestamp")) or _time(time)
        self._made = _milliseconds(meta.get("id"))
        if self._made is None and self._time is not None:
            self._made = int(self._time.timestamp() * 1000)
        self._has_ids = False

    def ends_at(self, record: Mapping[str, Any], payload: Mapping[str, Any]) -> bool:
        """Whether a line is the session's own."""
        ordinal = record.get("ordinal")
        if type(ordinal) is int and type(self._first_own) is int and ordinal >= self._first_own:
            return True
        turn = _milliseconds(payload.get("turn_id"))
        if turn is not None and self._made is not None:
            self._has_ids = True
            return turn >= self._made
        time = _time(record.get("timestamp"))
        return not self._has_ids and time is not None and self._time is not None and time - self._time > _COPYING


def _grown(before: Mapping[str, Any] | None, totals: Mapping[str, Any], last: Mapping[str, Any]) -> dict[str, int]:
    """The counts of one call."""
    if before is not None and totals and all(totals.get(name, 0) >= before.get(name, 0) for name in _COUNTS):
        return {name: totals[name] - before.get(name, 0) for name in _COUNTS if name in totals}
    said = last or totals
    return {name: said[name] for name in _COUNTS if name in said}


def _milliseconds(value: Any) -> int | None:
    """The time in a UUID of version 7, in milliseconds since 1970; None where it is none."""
    try:
        found = UUID(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return found.int >> 80 if found is not None and found.version == 7 else None


def _time(value: Any) -> datetime | None:
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return time if time is not None and time.tzinfo else None


def _recognises(sample: Sample) -> bool:
    return any(str(row.get("type")) in _TYPES and isinstance(row.get("payload"), Mapping) for row in sample.rows)


def _calls(rows: Iterable[SourceRow], path: Path | None) -> Iterator[SourceRow]:
    session = _Session()
    for row in rows:
        yield row if row.values is None else session.row(row, row.values)


CODEX = LogFormat(
    "Codex session logs",
    _recognises,
    _calls,
    marks=("session_meta", "turn_context", "token_count", "task_started", "thread_settings_applied"),
)
