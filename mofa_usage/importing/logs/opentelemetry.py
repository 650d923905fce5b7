"""OpenTelemetry's traces as OTLP JSON: `{"resourceSpans": [{"scopeSpans": [{"spans": [...]}]}]}`.

A file is one such export, or has one on every line, as the collector writes them. Attributes are lists of keys and
typed values, 64-bit numbers are text, times are nanoseconds. The attributes of the resource (`service.name`) hold for
all of its spans. Which spans are calls says `spans.py`.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mofa_usage.importing.logs import LogFormat, Sample
from mofa_usage.importing.logs.spans import NO_INFERENCE, first_token_of, is_inference, said_by, thrown_by
from mofa_usage.importing.source import NO_CALL, Identity, SourceRow

__all__ = ["OPENTELEMETRY"]

_STATUSES: dict[Any, str] = {0: "UNSET", 1: "OK", 2: "ERROR"}
_SCOPES = ("scopeSpans", "scope_spans", "instrumentationLibrarySpans")


def _plain(value: Any) -> Any:
    """A typed value as what it is."""
    if not isinstance(value, Mapping):
        return value
    for kind, content in value.items():
        match kind.replace("_", "").casefold():
            case "intvalue":
                return int(content) if isinstance(content, str) and content.lstrip("-").isdigit() else content
            case "arrayvalue":
                return [_plain(item) for item in _list(content, "values")]
            case "kvlistvalue":
                return _attributes(_list(content, "values"))
            case "stringvalue" | "boolvalue" | "doublevalue" | "bytesvalue":
                return content
    return None


def _list(value: Any, *names: str) -> list[Any]:
    """The list under the first of the names that is there."""
    said = value if isinstance(value, Mapping) else {}
    return next((said[name] for name in names if isinstance(said.get(name), list)), [])


def _attributes(pairs: Any) -> dict[str, Any]:
    if isinstance(pairs, Mapping):
        return dict(pairs)  # some write them as an object
    pairs = pairs if isinstance(pairs, list) else []
    return {str(pair.get("key")): _plain(pair.get("value")) for pair in pairs if isinstance(pair, Mapping)}


def _spans(resource_spans: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], dict[str, Any]]]:
    """The spans of one resource, with its attributes."""
    resource = resource_spans.get("resource")
    shared = _attributes(resource.get("attributes")) if isinstance(resource, Mapping) else {}
    for scope in _list(resource_spans, *_SCOPES):
        for span in _list(scope, "spans"):
            if isinstance(span, Mapping):
                yield span, shared


def _said(span: Mapping[str, Any], camel: str, snake: str) -> Any:
    return span.get(camel, span.get(snake))


def _time(span: Mapping[str, Any], camel: str, snake: str) -> Any:
    """A time; one of 0 is not set, as in a span that has not ended."""
    said = _said(span, camel, snake)
    return None if said in (0, "0") else said


def _call(span: Mapping[str, Any], attributes: Mapping[str, Any], resource: Mapping[str, Any]) -> dict[str, Any]:
    events = [
        {
            "name": event.get("name"),
            "time": _said(event, "timeUnixNano", "time_unix_nano"),
            "attributes": _attributes(event.get("attributes")),
        }
        for event in _list(span, "events")
        if isinstance(event, Mapping)
    ]
    status = span.get("status")
    status = status if isinstance(status, Mapping) else {}
    code = status.get("code")
    return {
        **thrown_by(events),
        **said_by(attributes),
        "start_time_unix_nano": _time(span, "startTimeUnixNano", "start_time_unix_nano"),
        "end_time_unix_nano": _time(span, "endTimeUnixNano", "end_time_unix_nano"),
        "first_token_at": first_token_of(events),
        "span_id": _said(span, "spanId", "span_id"),
        "parent_span_id": _said(span, "parentSpanId", "parent_span_id"),
        "otel_status_code": _STATUSES.get(code, code) if isinstance(code, int | str) else None,
        "status_message": status.get("message"),
        "labels.service": resource.get("service.name"),
        "environment": resource.get("deployment.environment.name") or resource.get("deployment.environment"),
    }


def _rows_of(row: SourceRow, resource_spans: Mapping[str, Any]) -> Iterator[SourceRow]:
    for span, resource in _spans(resource_spans):
        attributes = _attributes(span.get("attributes"))
        values = _call(span, attributes, resource)
        trace, name = _said(span, "traceId", "trace_id"), values["span_id"]
        if is_inference(attributes):
            yield row._replace(values=values, identity=Identity(f"otlp:{trace}:{name}") if name else None)
        else:
            yield row._replace(values=values, left_out=NO_INFERENCE)


def _recognises(sample: Sample) -> bool:
    return any(_resources(row) for row in sample.rows)


def _resources(row: Mapping[str, Any]) -> list[Any]:
    """The spans by resource in a row: of an export, or of one resource where the export is read part by part."""
    found = _list(row, "resourceSpans", "resource_spans")
    return found or ([row] if _list(row, *_SCOPES) else [])


def _calls(rows: Iterable[SourceRow], path: Path | None) -> Iterator[SourceRow]:
    for row in rows:
        if row.values is None:
            yield row
            continue
        resources = _resources(row.values)
        if not resources:
            yield row._replace(values=None, left_out=NO_CALL)
        for resource_spans in resources:
            if isinstance(resource_spans, Mapping):
                yield from _rows_of(row, resource_spans)


OPENTELEMETRY = LogFormat("OpenTelemetry traces (OTLP JSON)", _recognises, _calls)
