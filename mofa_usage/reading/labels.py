"""The names that a source brings with it: labels of calls, and what the sessions' metadata says.

Both are JSON objects under names of the user's own, kept beside each call or each session. An analysis wants columns:
`labels.team`, `session.plan`. Which names occur is known when the JSON was seen, and somebody may have used one name
for each call, so at most `MOST` become columns: the most frequent ones, of equals the first in the alphabet. Labels
with a meaning have columns of their own (`LABEL_COLUMNS`) and are not among them.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from mofa_usage.reading.columns import LABEL, LABEL_COLUMNS, SESSION
from mofa_usage.reading.rows import normalise

__all__ = [
    "MOST",
    "UNREAD",
    "gather",
    "label_columns",
    "label_counts",
    "labels_among",
    "session_columns",
    "told_apart",
]

MOST = 64
"""How many names become columns."""
UNREAD = LABEL
"""The column of a batch that holds its labels as JSON text; no label has an empty name."""

_TEXT = r'"(?:[^"\\]|\\.)*"'
_PAIR = rf"({_TEXT})\s*:\s*{_TEXT}"
_SHAPE = rf"^\{{\s*(?:{_TEXT}:(?:\s*,\s*{_TEXT}:)*)?\s*\}}$"


def label_counts(texts: pl.Series) -> Counter[str]:
    """How many calls have each label, by its name; `texts` are the labels as JSON objects, or null."""
    counts: Counter[str] = Counter()
    # Without the values, which are many, few different texts are left.
    given = texts.drop_nulls().to_frame("text")
    shapes = given.select(shape=pl.col("text").str.replace_all(_PAIR, "${1}:"), text="text")
    grouped = shapes.group_by("shape").agg(calls=pl.len(), text=pl.col("text").first()).drop_nulls("shape")
    plain = pl.col("shape").str.contains(_SHAPE)
    for text, calls in grouped.filter(plain).select("text", "calls").iter_rows():
        counts.update(dict.fromkeys(_names(text), calls))
    odd = grouped.filter(plain.not_()).select("shape").join(shapes, on="shape")
    for text in odd["text"]:
        counts.update(_names(text))
    return counts


def _names(text: str) -> Iterable[str]:
    """The names in labels; none where the text is no JSON object, which whoever takes it apart will refuse."""
    try:
        labels = json.loads(text)
    except ValueError:
        return ()
    return [name for name in labels if name and name not in LABEL_COLUMNS] if isinstance(labels, dict) else ()


def labels_among(found: Iterable[tuple[Any, int]]) -> Counter[str]:
    """How many calls have each label, of names with the number of calls; those with a meaning are columns anyway."""
    return Counter({name: calls for name, calls in found if calls and name and name not in LABEL_COLUMNS})


def label_columns(counts: Counter[str]) -> tuple[str, ...]:
    """The columns that the most frequent labels become."""
    return tuple(f"{LABEL}{name}" for name in _most_frequent(counts))


def _most_frequent(counts: Counter[str]) -> list[str]:
    return sorted(counts, key=lambda name: (-counts[name], name))[:MOST]


def told_apart(columns: Iterable[str], there: Iterable[str] = ()) -> list[str]:
    """Of columns whose names differ in nothing but capitals the first, and none that one which is `there` has.

    DuckDB, Spark and Delta tables take them for one and the same.
    """
    first: dict[str, str] = {name.casefold(): "" for name in there}
    for name in columns:
        first.setdefault(name.casefold(), name)
    return [name for name in first.values() if name]


def session_columns(sessions: Iterable[tuple[str, Any]]) -> pl.DataFrame | None:
    """`chat_session_id` with a column `session.NAME` for each value of the metadata that is no list and no object.

    `sessions` are ids with their metadata, an object or its JSON text; what is neither says nothing. None when there is
    nothing to tell.
    """
    values = [(identifier, dict(_scalars(metadata))) for identifier, metadata in sessions]
    told = [(identifier, said) for identifier, said in values if said]
    names = _most_frequent(Counter(name for _, said in told for name in said))
    if not names:
        return None
    columns = {f"{SESSION}{name}": [said.get(name) for _, said in told] for name in names}
    frame = pl.DataFrame(
        {"chat_session_id": [identifier for identifier, _ in told], **columns},
        schema=dict.fromkeys(("chat_session_id", *columns), pl.String),
    )
    return frame.unique("chat_session_id", keep="first")


def _scalars(metadata: Any) -> Iterator[tuple[str, str]]:
    if isinstance(metadata, str):
        try:
            metadata = json.loads(metadata)
        except ValueError:
            return
    for name, value in metadata.items() if isinstance(metadata, Mapping) else ():
        if name and isinstance(value, str | int | float):
            yield name, value if isinstance(value, str) else json.dumps(value)


def gather(batches: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """Batches as one frame, with a column for each of the most frequent labels in all of them.

    A batch has a column for each label in it or, where these are too many, their JSON in the column `UNREAD`.
    """
    parts = list(batches)
    counts: Counter[str] = Counter()
    for part in parts:
        if UNREAD in part.columns:
            counts.update(label_counts(part[UNREAD]))
        else:
            counts.update({name.removeprefix(LABEL): part[name].count() for name in _labels_of(part)})
    chosen = label_columns(counts)
    return pl.concat([_with_labels(part, chosen) for part in parts])


def _labels_of(part: pl.DataFrame) -> list[str]:
    return [name for name in part.columns if name.startswith(LABEL)]


def _with_labels(part: pl.DataFrame, chosen: Sequence[str]) -> pl.DataFrame:
    """The batch with the chosen columns of labels, before the columns of sessions."""
    if UNREAD in part.columns:
        found = normalise(part.select(pl.col(UNREAD).alias("labels")), chosen)
    else:
        empty = pl.lit(None, dtype=pl.String)
        # Not selected as literals: these alone would be one row, whatever the batch has.
        found = part.with_columns(empty.alias(name) for name in chosen if name not in part.columns).select(chosen)
    sessions = [name for name in part.columns if name.startswith(SESSION)]
    return part.drop(_labels_of(part), sessions).hstack(found).hstack(part.select(sessions))
