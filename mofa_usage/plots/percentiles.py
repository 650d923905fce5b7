"""Which measures are percentiles of one quantity, and how each of them looks.

`latency_p50`, `latency_p99.9` and `latency_mean` are a family: they stand in one picture, from the lowest to the
highest. Any percentile can be asked for, so their looks are found and not listed: those that everybody asks for have
theirs in `mofa_usage.theme`, another one the colour of the nearest of these, and a dash of its own.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mofa_usage import theme as look
from mofa_usage.measures import Measure
from mofa_usage.plots.answers import Measures

NOUNS = {
    "latency": "Latency",
    "ttft": "Time to first token",
    "time_per_output_token": "Time per output token",
    "token_rate": "Token rate",
}
"""What the percentiles with these prefixes are about."""

_PLAIN = {word: style for word, style in look.PERCENTILE_STYLES.items() if word.startswith("p")}
_MEMBER = re.compile(r"(.+)_(p\d+(?:\.\d+)?|mean|overall)")


@dataclass(frozen=True, slots=True)
class Family:
    """Percentiles, mean and overall value of one quantity: the measures by `p50`, `p99.9`, `mean`, `overall`."""

    prefix: str
    noun: str
    measures: Mapping[str, Measure]

    @property
    def percentiles(self) -> tuple[str, ...]:
        """The percentiles among its words, from the lowest to the highest."""
        return tuple(word for word in self.measures if word.startswith("p"))


def member(name: str) -> tuple[str, str] | None:
    """The prefix and the word of a measure of that name: `("latency", "p95")`; None where it is in no family."""
    found = _MEMBER.fullmatch(name)
    return (found[1], found[2]) if found else None


def families(measures: Measures) -> dict[str, Family]:
    """The families among measures, by prefix."""
    found: dict[str, dict[str, Measure]] = {}
    for name, measure in measures.items():
        if (parts := member(name)) and not measure.additive:
            found.setdefault(parts[0], {})[parts[1]] = measure
    return {
        prefix: Family(prefix, _noun(prefix, words), {word: words[word] for word in sorted(words, key=_order)})
        for prefix, words in found.items()
    }


def _order(word: str) -> tuple[int, float, str]:
    return (0, float(word[1:]), word) if word.startswith("p") else (1, 0.0, word)


def _noun(prefix: str, words: Measures) -> str:
    titles = (measure.title.removesuffix(f" {word}") for word, measure in words.items() if word.startswith("p"))
    return NOUNS.get(prefix) or next(titles, prefix.replace("_", " ").capitalize())


def styles_of(words: Iterable[str]) -> dict[str, look.Style]:
    """How each of the words of a family looks in one figure."""
    found: dict[str, look.Style] = {}
    for word in words:
        style = look.PERCENTILE_STYLES.get(word)
        if style is None:
            color = min((abs(float(name[1:]) - float(word[1:])), known.color) for name, known in _PLAIN.items())[1]
            dashed = [look.Style(color, dash=dash) for dash in look.DASHES[1:]]
            style = next((one for one in dashed if one not in found.values()), dashed[-1])
        found[word] = style
    return found
