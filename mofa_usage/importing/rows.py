"""One row of a source to one `LLMApiCall`.

What a row does not say is completed: from the caller's defaults, else

| field | without a value |
|---|---|
| id | derived from the row, see `mofa_usage.importing.identity` |
| chat_session_id, agent_id, user_id, tenant_id, ..._message_id | the nil UUID |
| model_name | `unknown` |
| status | what else says how the call ended, see `mofa_usage.outcomes`; `success` where nothing does |
| prompt_tokens, completion_tokens | the total less the other; 0 for a call that was refused; else unknown |
| total_tokens | prompt + completion |
| latency_ms | the end less the beginning, where the row has both |
| update_time | the end, else create_time + latency |
| everything else | None: unknown is not zero |

Tokens that are unknown are 0 in the record, whose `token_source` says so. `create_time` is never made up.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple, get_args
from uuid import UUID

from pydantic import ValidationError

from mofa_usage.errors import UsageError
from mofa_usage.importing import values as convert
from mofa_usage.importing.columns import (
    OUTCOME_FIELDS,
    TOKEN_FIELDS,
    check_complete,
    check_targets,
    field_kind,
    find_columns,
    is_token_target,
    look_up,
    names_in,
)
from mofa_usage.importing.counts import token_fields
from mofa_usage.importing.endings import ending_of
from mofa_usage.importing.fields import LABEL_OF_ID, Converter, Fields, NamedId, shown
from mofa_usage.importing.spans import ROLL_UP, Spans, why_no_call
from mofa_usage.importing.values import ValueRefusedError
from mofa_usage.names import DURATIONS, plain_name
from mofa_usage.outcomes import used_nothing
from mofa_usage.records import NIL_UUID, LLMApiCall
from mofa_usage.tokens import Readings, ReportedUsage, TokenValueError, count_tokens, find_usage, token_columns

__all__ = ["CallBuilder", "Contradictions", "NoCallError", "RowRefusedError"]

Contradictions = Literal["refuse", "keep"]

UNKNOWN_MODEL = "unknown"
_NIL_IDS = {name: NIL_UUID for name in LLMApiCall.model_fields if name.endswith("_id") and field_kind(name) is UUID}
_VALUES_IN_MESSAGE = re.compile(r" \([^()]*\)")
_MOST_SHAPES = 1_000  # sets of names of JSON rows that are remembered
_SAID_BY_ABSENCE = ("labels.operation", "labels.retried")  # of a chat, of an attempt that was not tried again
_MAY_BE_EMPTY = {name for name in LLMApiCall.model_fields if field_kind(name) is str}
_TOKEN_DETAILS = ("prompt_tokens_details", "completion_tokens_details")
# Only our own exports have all of these.
_OURS = {*TOKEN_FIELDS, *_TOKEN_DETAILS, "request_message_id", "response_message_id"}
_OUR_PARTS = (
    *("cached_tokens", "cache_write_tokens", "prompt_audio_tokens"),
    *("reasoning_tokens", "completion_audio_tokens", "token_source"),
)
_KEEP = "(--contradictions keep stores it as it is)"
# A row that says none of these and no tokens is some other line of a log.
_SAYS_A_CALL = {
    "model_name",
    "total_price",
    "api_response_id",
    "outcome.error",
    "outcome.error_message",
    "outcome.error_code",
}


class RowRefusedError(Exception):
    """A row that is no call. `kind` is the reason without the row's own values, so that like rows can be counted."""

    def __init__(self, kind: str, reason: str | None = None) -> None:
        super().__init__(reason or kind)
        self.kind = kind


class NoCallError(RowRefusedError):
    """A row that is something else: another span of a trace, another line of a log."""


class _Binding(NamedTuple):
    columns: tuple[tuple[str, Converter], ...]  # where the value may stand, and what makes it the field's
    is_missing: Callable[[Any], bool]


class CallBuilder:
    """Makes calls of rows; remembers what it found in them.

    Args:
        columns: the source's columns; None when every row names its own.
        mapping: target -> column; None leaves a field out that would be found by its name.
        defaults: target -> the converted value where the source has none.
        fields: converts values.
        readings: how the tokens of the source are read.
        spans: the spans of the source.
        contradictions: what becomes of rows whose counts of tokens contradict each other.
        is_text: whether empty text is a missing value.

    Raises:
        UsageError: the mapping does not fit, or the columns can never make a call.
    """

    def __init__(
        self,
        columns: Sequence[str] | None,
        *,
        mapping: Mapping[str, str | None],
        defaults: Mapping[str, Any],
        fields: Fields,
        readings: Readings,
        spans: Spans,
        contradictions: Contradictions = "refuse",
        is_text: bool = False,
    ) -> None:
        if contradictions not in get_args(Contradictions):
            raise UsageError(f'contradictions must be "refuse" or "keep", not {contradictions!r}')
        check_targets(mapping, "mapping")
        self.used: dict[str, str] = {}  # field -> the column that its values came from
        self.columns_used: set[str] = set()
        self._mapping = mapping
        self._defaults = defaults
        self._fields = fields
        self._readings = readings
        self._keeps_contradictions = contradictions == "keep"
        self._is_text = is_text
        self._is_id_mapped = bool({"id", "api_response_id"} & set(mapping))
        self._spans = spans
        self._token_defaults = {name: value for name, value in defaults.items() if is_token_target(name)}
        self._shapes: dict[tuple[str, ...], Mapping[str, _Binding]] = {}
        self._bindings: Mapping[str, _Binding] | None = None
        if columns is not None:
            check_complete(columns, mapping, defaults)
            self._bindings = self._bind(columns)
            fields_of_tokens = {*token_columns(columns).values(), *filter(is_token_target, mapping)}
            self._has_questions = bool(fields_of_tokens.difference(TOKEN_FIELDS)) or "span.parent" in self._bindings

    def build(self, row: Mapping[str, Any], derived_id: Callable[[UUID], UUID]) -> LLMApiCall:
        """The call of `row`. When it has no id, `derived_id` is asked for the one of a call of the tenant given to it.

        Raises:
            RowRefusedError: the row is no valid call.
        """
        if not self._is_id_mapped and "id" in row and _is_answer(row):
            # Its id is the provider's, not one of ours; that of a batch's line is around the answer, which has its own.
            row = {**row, "id": None} | ({} if "custom_id" in row else {"response_id": row["id"]})
            self.columns_used.add("id")
        done = self._fields.done()
        try:
            return self._built(row, derived_id)
        except RowRefusedError as refusal:
            self._fields.undo(done)
            if isinstance(refusal, NoCallError):
                raise
            # What was not looked at any more was not left out, but for durations that do not say their unit.
            bound = (name for binding in self._bindings_of(row).values() for name, _ in binding.columns)
            meant = (name for name in bound if plain_name(name) not in DURATIONS)
            self.columns_used.update(meant, token_columns(names_in(row)))
            raise

    def _built(self, row: Mapping[str, Any], derived_id: Callable[[UUID], UUID]) -> LLMApiCall:
        said = self._said(row)
        if (reason := why_no_call(said)) is not None:
            raise NoCallError(reason)
        data = self._fields_of(said)
        self._add_ending(data, said)
        self._add_tokens(data, said, row)
        _complete(data, said)
        if "id" not in data:
            data["id"] = derived_id(data["tenant_id"])
        try:
            return LLMApiCall.model_validate(data)
        except ValidationError as error:
            raise _refused_by_record(error) from None

    def survey(self, row: Mapping[str, Any]) -> None:
        """Learn from `row` how tokens are read and which spans there are, before any row is built."""
        if self._is_ours(row):
            return
        try:
            usage = find_usage(row, self._mapping)
        except TokenValueError:
            return  # it is refused when it is built
        if usage is not None:
            self._readings.add(usage)
        bindings = self._bindings_of(row)
        if "span.id" in bindings and (span := _first(row, bindings["span.id"])) is not None:
            # A root may lack the key of its parent.
            parent = _first(row, bindings["span.parent"]) if "span.parent" in bindings else None
            self._spans.add(span, None if parent == span else parent, _raw_tokens(usage))

    def tokens_read(self) -> tuple[str, ...]:
        """How token counts were read where that was a question, a sentence each."""
        return self._readings.sentences()

    @property
    def needs_survey(self) -> bool:
        """Whether rows must be surveyed before they are built: not where the columns leave no question."""
        return self._bindings is None or self._has_questions

    # Columns

    def _bind(self, columns: Sequence[str]) -> dict[str, _Binding]:
        found = find_columns(columns, self._mapping)
        return {
            target: _Binding(
                tuple(
                    (name, self._fields.converter(target, name, is_sure=self._is_sure(target, name))) for name in names
                ),
                self._missing(target),
            )
            for target, names in found.items()
        }

    def _is_sure(self, target: str, name: str) -> bool:
        return target in self._mapping or name == target

    def _missing(self, target: str) -> Callable[[Any], bool]:
        if target.removeprefix("outcome.") not in _MAY_BE_EMPTY:
            return convert.is_missing
        # Text may be empty, where the source can tell empty from missing; a CSV cannot.
        return convert.is_missing_text if self._is_text else convert.is_null

    def _bindings_of(self, row: Mapping[str, Any]) -> Mapping[str, _Binding]:
        if self._bindings is not None:
            return self._bindings
        shape = tuple(names_in(row))
        if shape not in self._shapes:
            if len(self._shapes) >= _MOST_SHAPES:
                self._shapes.clear()
            self._shapes[shape] = self._bind(shape)
        return self._shapes[shape]

    # Values

    def _said(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """What the row says: field -> converted value, without what it does not say."""
        said: dict[str, Any] = {}
        for target, binding in self._bindings_of(row).items():
            for name, converter in binding.columns:
                value = look_up(row, name)
                if binding.is_missing(value):
                    continue
                value = _converted(target, name, converter, value)
                if value is not None:
                    said[target] = value
                    self._note(target, name)
                    break
                if target in _SAID_BY_ABSENCE:
                    self.columns_used.add(name)
        return said

    def _note(self, target: str, name: str) -> None:
        self.columns_used.add(name)
        if not target.startswith(("time.", "span.")):
            self.used.setdefault(target.removeprefix("outcome."), name)

    def _note_tokens(self, usage: ReportedUsage) -> None:
        self.columns_used.update(usage.names.values())
        for field, name in usage.names.items():
            self.used.setdefault(field, name)

    def _fields_of(self, said: Mapping[str, Any]) -> dict[str, Any]:
        """The fields that stand for themselves: all but tokens and how the call ended."""
        data: dict[str, Any] = {"labels": {}}
        names: dict[str, str] = {}
        completed = dict(said) | {target: value for target, value in self._defaults.items() if target not in said}
        for target, value in completed.items():
            field, _, key = target.partition(".")
            if is_token_target(target) or field in (*OUTCOME_FIELDS, "outcome", "time", "span"):
                continue
            if isinstance(value, NamedId):
                if value.id is not None:
                    data[field] = value.id
                if value.name is not None:
                    names[LABEL_OF_ID[field]] = value.name
            elif target == "labels.served_model" and value == completed.get("model_name"):
                continue  # the model that was asked for answered
            elif key:
                whole = data.setdefault(field, {})
                if whole.get(key) is None:  # keys complete what the whole does not say
                    whole[key] = value
            else:
                data[field] = {**value, **data.get(field, {})} if field in ("labels", "price_details") else value
        data["labels"] = names | data["labels"]
        return data

    def _add_ending(self, data: dict[str, Any], said: Mapping[str, Any]) -> None:
        outcomes = {target.partition(".")[2]: value for target, value in said.items() if target.startswith("outcome.")}
        try:
            outcome = ending_of(outcomes, self._defaults.get("status"))
        except ValueRefusedError as refusal:
            raise RowRefusedError(refusal.rule, f"{refusal.rule}: {shown(refusal.value)}") from None
        data["status"] = outcome.status
        for name in ("error_message", "error_code"):
            value = getattr(outcome, name)
            data[name] = self._defaults.get(name) if value is None else value

    def _add_tokens(self, data: dict[str, Any], said: Mapping[str, Any], row: Mapping[str, Any]) -> None:
        own = self._own_details(row)
        if self._is_ours(row):
            data |= self._own_tokens(row, own)
            return
        try:
            usage = find_usage(row, self._mapping)
        except TokenValueError as error:
            raise RowRefusedError(error.kind, str(error)) from None
        self._check_span(said, usage)
        if usage is None and not said.keys() & _SAYS_A_CALL:
            raise NoCallError("no call: it says neither a model nor tokens, a price or an error")
        counts = None
        if usage is not None:
            self._note_tokens(usage)
            counts = count_tokens(usage, self._readings.of(usage))
            if counts.contradiction is not None and not self._keeps_contradictions:
                raise RowRefusedError(f"{counts.contradiction_kind} {_KEEP}", f"{counts.contradiction} {_KEEP}")
            for term, value in counts.terms.items():
                if isinstance(value, str | int) and value:
                    data["labels"].setdefault(term, str(value))
        unused: tuple[str, ...] = ()
        if used_nothing(data["status"], data["error_code"]):
            unused = TOKEN_FIELDS[:2]
        elif data["labels"].get("operation") == "embeddings":
            unused = ("completion_tokens",)
        data |= token_fields(counts, own=own, defaults=self._token_defaults, unused=unused)

    def _is_ours(self, row: Mapping[str, Any]) -> bool:
        """Whether a row was exported from a store, and its tokens are to be taken from where they are then."""
        return row.keys() >= _OURS and not any(map(is_token_target, self._mapping))

    def _own_tokens(self, row: Mapping[str, Any], own: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """The tokens of a call that was exported from a store: as they are, with null for what is not known."""
        self.columns_used.update(_OUR_PARTS)  # they repeat what the details say
        counts: dict[str, int] = {}
        for name in TOKEN_FIELDS:
            self._note(name, name)
            if not convert.is_missing(value := row[name]):
                counts[name] = _converted(name, name, convert.to_count, value)
        prompt, completion, total = TOKEN_FIELDS
        known = {prompt: 0, completion: 0} | counts
        return {total: known[prompt] + known[completion], **known, **own}

    def _check_span(self, said: Mapping[str, Any], usage: ReportedUsage | None) -> None:
        tokens = _raw_tokens(usage)
        if "span.id" in said and tokens is not None and self._spans.is_roll_up(said["span.id"], tokens):
            raise NoCallError(ROLL_UP)

    def _own_details(self, row: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
        """The details of tokens as the row has them under our own names, or those that they are mapped to."""
        found: dict[str, Mapping[str, Any]] = {}
        for target in _TOKEN_DETAILS:
            name = self._mapping.get(target, target)
            value = None if name is None else look_up(row, name)
            if not convert.is_missing(value):
                found[target] = _converted(target, str(name), self._fields.converter(target, target), value)
                self._note(target, str(name))
        return found


def _is_answer(row: Mapping[str, Any]) -> bool:
    """Whether a row is an answer as the provider sent it, alone, without a usage where it failed, or of a batch."""
    return isinstance(row.get("usage", ""), Mapping | None) or {"custom_id", "response"} <= row.keys()


def _first(row: Mapping[str, Any], binding: _Binding) -> Any:
    """The first value of a field that is there, as the row has it."""
    values = (look_up(row, name) for name, _ in binding.columns)
    return next((value for value in values if not binding.is_missing(value)), None)


def _raw_tokens(usage: ReportedUsage | None) -> tuple[int, int] | None:
    """Prompt and completion tokens as a span says them, to be compared with those of other spans."""
    if usage is None or (usage.prompt is None and usage.completion is None):
        return None
    return usage.prompt or 0, usage.completion or 0


def _converted(target: str, name: str, converter: Converter, value: Any) -> Any:
    try:
        return converter(value)
    except ValueRefusedError as refusal:
        where = "" if name == target else f" in column {name!r}"
        kind = f"{target} {refusal.rule}"
        raise RowRefusedError(kind, f"{kind}: {shown(refusal.value)}{where}") from None
    except (OverflowError, ArithmeticError):
        kind = f"{target} is out of range"
        raise RowRefusedError(kind, f"{kind}: {shown(value)}") from None


def _complete(data: dict[str, Any], said: Mapping[str, Any]) -> None:
    """Fill in what the row did not say; the table is in the module's docstring."""
    if "create_time" not in data:
        raise RowRefusedError("create_time is missing")
    for name, nil in _NIL_IDS.items():
        data.setdefault(name, nil)
    data.setdefault("model_name", UNKNOWN_MODEL)
    start, end, first_token = data["create_time"], said.get("time.end"), said.get("time.first_token")
    if "latency_ms" not in data and end is not None:
        _set_duration(data, "latency_ms", start, end)
    if "time_to_first_token_ms" not in data and first_token is not None and (end is None or first_token < end):
        # LiteLLM writes the end there for a call that did not stream.
        _set_duration(data, "time_to_first_token_ms", start, first_token)
    if "update_time" not in data:
        try:
            data["update_time"] = start + timedelta(milliseconds=data.get("latency_ms") or 0)
        except OverflowError:
            raise RowRefusedError("latency_ms is out of range") from None


def _set_duration(data: dict[str, Any], name: str, start: datetime, end: datetime) -> None:
    milliseconds = convert.to_milliseconds(end - start)
    if 0 <= milliseconds < 2**31:
        data[name] = milliseconds


def _refused_by_record(error: ValidationError) -> RowRefusedError:
    first = error.errors(include_url=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    if not where:
        return RowRefusedError(_VALUES_IN_MESSAGE.sub("", message), message)
    kind = f"{where}: {message}"
    return RowRefusedError(kind, f"{kind}: {shown(first['input'])}")
