"""Prometheus's text format: families of metrics, each with its series.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, TypeAlias

__all__ = ["Family", "Number", "Series", "exposition"]

Number: TypeAlias = int | Decimal
Series: TypeAlias = tuple[str, tuple[tuple[str, str], ...], Number]
"""What stands behind the family's name (`_bucket`, mostly nothing), the labels, and the value."""


@dataclass(frozen=True)
class Family:
    """A metric: its name without what a series adds, of which kind it is, what it means, and its series."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    meaning: str
    series: tuple[Series, ...]


def exposition(families: Iterable[Family]) -> str:
    """The families as text; one without series is left out."""
    return "".join(f"{line}\n" for family in families if family.series for line in _lines(family))


def _lines(family: Family) -> Iterator[str]:
    yield f"# HELP {family.name} {_escaped(family.meaning)}"
    yield f"# TYPE {family.name} {family.kind}"
    for suffix, labels, value in family.series:
        said = ",".join(f'{name}="{_quoted(text)}"' for name, text in labels)
        yield f"{family.name}{suffix}{f'{{{said}}}' if said else ''} {Decimal(value):f}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _quoted(text: str) -> str:
    return _escaped(text).replace('"', r"\"")
