"""Phoenix's spans, as `get_spans_dataframe` gives them and as they are kept in Parquet, CSV or JSON.

A row is a span with OpenInference's attributes in columns of their own (`attributes.llm.token_count.prompt`), whole
objects of them as well (`attributes.llm`). Columns that begin with `cumulative_` are sums over what is beneath a span
and never read. Which spans are calls says `spans.py`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mofa_usage.importing.logs import LogFormat, Sample
from mofa_usage.importing.logs.parts import as_object, as_utc
from mofa_usage.importing.logs.spans import NO_INFERENCE, first_token_of, is_inference, said_by, thrown_by
from mofa_usage.importing.source import Identity, SourceRow
from mofa_usage.values import read_nested

__all__ = ["PHOENIX"]

_ATTRIBUTES = "attributes."


def _flat(row: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """The attributes by their names with dots, of objects too."""
    for name, value in row.items():
        inner = as_object(value) if not before or isinstance(value, Mapping) else {}
        if inner:
            yield from _flat(inner, f"{before}{name}.")
        elif value is not None:
            yield f"{before}{name}", value


def _attributes(row: Mapping[str, Any]) -> dict[str, Any]:
    said = {name.removeprefix(_ATTRIBUTES): row[name] for name in row if name.startswith(_ATTRIBUTES)}
    return dict(_flat(said or as_object(row.get("attributes"))))


def _events(value: Any) -> Sequence[Any]:
    if isinstance(value, str):
        try:
            value = read_nested(value)
        except ValueError:
            return ()
    found = value if isinstance(value, list) else []
    return [
        {"name": event.get("name"), "time": as_utc(event.get("timestamp")), "attributes": dict(_flat(attributes))}
        for event in found
        if isinstance(event, Mapping)
        for attributes in [as_object(event.get("attributes"))]
    ]


def _call(row: Mapping[str, Any], attributes: Mapping[str, Any], kind: Any) -> dict[str, Any]:
    events = _events(row.get("events"))
    return {
        **thrown_by(events),
        **said_by(attributes),
        "openinference.span.kind": kind,
        "start_time": as_utc(row.get("start_time")),
        "end_time": as_utc(row.get("end_time")),
        "first_token_at": first_token_of(events),
        "span_id": _span(row),
        "parent_id": row.get("parent_id"),
        "otel_status_code": row.get("status_code"),
        "status_message": row.get("status_message"),
    }


def _span(row: Mapping[str, Any]) -> Any:
    return row.get("context.span_id") or as_object(row.get("context")).get("span_id") or row.get("span_id")


def _recognises(sample: Sample) -> bool:
    if not sample.columns >= {"span_kind", "parent_id", "start_time", "status_code"}:
        return False
    return "attributes" in sample.columns or any(name.startswith(_ATTRIBUTES) for name in sample.columns)


def _calls(rows: Iterable[SourceRow], path: Path | None) -> Iterator[SourceRow]:
    for row in rows:
        if row.values is None:
            yield row
            continue
        attributes = _attributes(row.values)
        kind = row.values.get("span_kind") or attributes.get("openinference.span.kind")
        values = _call(row.values, attributes, kind)
        if not is_inference({**attributes, "openinference.span.kind": kind}):
            yield row._replace(values=values, left_out=NO_INFERENCE)
            continue
        said = values["span_id"]
        yield row._replace(values=values, identity=Identity(f"phoenix:{said}") if said else None)


PHOENIX = LogFormat("Phoenix spans", _recognises, _calls)
