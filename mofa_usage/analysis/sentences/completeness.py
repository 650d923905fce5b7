"""What is said of findings, coverage, gaps and limits."""

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from mofa_usage import wording
from mofa_usage.analysis.told import Told

__all__ = ["COMPLETENESS", "OF_NOTHING"]

_KNOWN = {
    "coverage": "the price",
    "token_coverage": "the tokens",
    "latency_coverage": "the latency",
    "ttft_coverage": "the time to the first token",
}


def _findings(told: Told) -> Iterator[str]:
    """How many there are of each severity, and the first."""
    if not {"severity", "sentence"} <= set(told.frame.columns):
        return
    counts = [(word, told.frame.filter(severity=word).height) for word in ("error", "warning", "note")]
    parts = [f"{number:,} {word}{'' if number == 1 else 's'}" for word, number in counts if number]
    yield f"{_there(told.frame.height, 'finding')}: {', '.join(parts)}"
    yield str(told.frame["sentence"][0]).rstrip(".")


def _coverage(told: Told) -> Iterator[str]:
    """Of how many of all calls each thing is known."""
    calls, name = told.total("calls"), told.column("calls")
    if not calls or name is None:
        return
    parts = []
    for measure, words in _KNOWN.items():
        column = told.column(measure)
        if column is not None:
            share: Any = (told.frame[column].fill_null(0) * told.frame[name]).sum()
            parts.append(f"{words} of {wording.percent(min(1.0, round(share) / calls))}")
    if parts:
        yield f"of {wording.calls(calls)} is known: {', '.join(parts)}"


def _gaps(told: Told) -> Iterator[str]:
    hours = told.total("empty_hours")
    if hours:
        usual = told.total("usual_calls")
        missing = "" if usual is None else f", in which about {usual:,.0f} calls usually come"
        yield f"{_there(told.frame.height, 'gap')} of {hours:,} hour{'' if hours == 1 else 's'} in all{missing}"


def _there(number: int, what: str) -> str:
    return f"there {'is' if number == 1 else 'are'} {number:,} {what}{'' if number == 1 else 's'}"


def _days(told: Told) -> Iterator[str]:
    days, calls = told.frame.height, told.total("calls")
    hours = told.total("empty_hours")
    lacking = "no hour is missing" if not hours else f"{hours:,} hour{' is' if hours == 1 else 's are'} missing"
    yield f"{_there(calls or 0, 'call')} on {days:,} day{'' if days == 1 else 's'}; {lacking}"


def _check(told: Told) -> Iterator[str]:
    """Every limit in the order asked."""
    if "sentence" in told.frame.columns:
        for text in told.frame["sentence"]:
            yield str(text).rstrip(".")


COMPLETENESS: Mapping[str, Callable[[Told], Iterator[str]]] = MappingProxyType(
    {"findings": _findings, "completeness": _coverage, "gaps": _gaps, "gap_days": _days, "check": _check}
)

OF_NOTHING: Mapping[str, str] = MappingProxyType(
    {
        "findings": "Nothing is missing that could be seen.",
        "gaps": "There are no gaps.",
        "check": "There are no limits.",
    }
)
"""What is said where there is no row."""
