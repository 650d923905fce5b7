"""Numbers and names as text: money, counts, durations, rates, and labels of what untrusted names say.

Amounts are rounded for showing only. Names of models and agents are untrusted: Plotly reads its labels as a small HTML,
so every name that goes into a figure goes through `short_labels`, `label_text` or `hover_text`.
"""

import html
import os
import textwrap
from collections import Counter
from collections.abc import Iterable
from decimal import Decimal

from mofa_usage.measures import Quantity

__all__ = [
    "compact",
    "count",
    "duration",
    "hover_text",
    "label_text",
    "money",
    "percent",
    "short_labels",
    "shorten",
    "shortened",
    "value_text",
    "visible",
]

# Numbers --------------------------------------------------------------------------------------------------------------


def money(amount: Decimal | None, currency: str) -> str:
    """`$1,234.56`, `EUR 1,234.56`; below 1 at least three significant digits (`$0.0000123`); None is "unknown".

    Rounded half to even, for showing only.
    """
    if amount is None:
        return "unknown"
    digits = max(2, 2 - amount.adjusted()) if amount and abs(amount) < 1 else 2
    whole, _, places = f"{abs(amount):,.{digits}f}".partition(".")
    text = f"{whole}.{places.rstrip('0').ljust(2, '0')}"
    sign = "-" if amount < 0 and text.strip("0.") else ""
    return f"{sign}{'$' if currency == 'USD' else currency + ' '}{text}"


def count(number: int | float | None) -> str:
    """`12,345`; None is a dash."""
    return "–" if number is None else f"{number:,.0f}"  # noqa: RUF001 (a dash for "no value")


def compact(number: int | float | None) -> str:
    """Three significant digits: `999`, `12.3k`, `4.56M`, `7.89B`; None is a dash."""
    if number is None or abs(number) < 1000:
        return count(number)
    power = 1
    while power < 4 and abs(number) / 1000**power >= 999.5:
        power += 1
    scaled = number / 1000**power
    digits = 2 if abs(scaled) < 9.995 else 1 if abs(scaled) < 99.95 else 0
    return f"{scaled:,.{digits}f}{' kMBT'[power]}"


def duration(milliseconds: float | None) -> str:
    """`820 ms`, `3.21 s`, `2 min 5 s`; None is a dash."""
    if milliseconds is None:
        return count(None)
    if milliseconds < 999.5:
        return f"{milliseconds:.0f} ms" if milliseconds >= 10 or milliseconds == 0 else f"{milliseconds:.2g} ms"
    seconds = milliseconds / 1000
    if seconds < 99.95:
        return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes:,} min {rest} s" if rest else f"{minutes:,} min"


def percent(rate: float | None) -> str:
    """`97.2%` of a fraction. What is not quite everything never reads 100%, what is not quite nothing never 0%."""
    if rate is None:
        return count(None)
    if rate in (0, 1):
        return f"{rate:.0%}"
    for digits in range(1, 7):
        text = f"{rate:.{digits}%}"
        if text.strip("0.%") and not text.startswith("100."):
            break
    return text


def value_text(value: object, kind: Quantity, currency: str = "USD") -> str:
    """A measure's value as text with its unit; `kind` is that of `mofa_usage.measures`, `currency` serves money."""
    if kind == "money":
        return money(None if value is None else Decimal(str(value)), currency)
    number = None if value is None else float(str(value))
    if kind == "ms":
        return duration(number)
    if kind == "rate":
        return percent(number)
    if number is not None and kind == "tokens/s":
        return f"{number:,.1f} tokens/s"
    return f"{count(number)} tokens" if number is not None and kind == "tokens" else count(number)


# Names ----------------------------------------------------------------------------------------------------------------


def short_labels(names: Iterable[str], width: int = 30) -> dict[str, str]:
    """`shortened` names that are harmless in Plotly's HTML."""
    return {name: html.escape(label, quote=False) for name, label in shortened(names, width).items()}


def shortened(names: Iterable[str], width: int) -> dict[str, str]:
    """A printable label of at most `width` characters for each untrusted name; different names get different ones.

    A name that is too long loses the beginning of its path (`accounts/.../`) first and its middle then, since versions
    of a model differ at their ends; names that would look the same are shown from where they begin to differ.
    """
    texts = {name: _plain(name) for name in dict.fromkeys(names)}
    labels = {name: _cut(text, width) for name, text in texts.items()}
    for label, times in Counter(labels.values()).items():
        same = [texts[name] for name, other in labels.items() if other == label and times > 1]
        begin = len(os.path.commonprefix(same)) - width // 3  # noqa: RUF071 (characters are what is compared)
        labels |= {name: _window(text, max(0, begin), width) for name, text in texts.items() if text in same}
    used: Counter[str] = Counter()
    for name, label in labels.items():
        used[label] += 1
        ending = f" ({used[label]})" if used[label] > 1 else ""
        labels[name] = label[: width - len(ending)] + ending
    return labels


def visible(text: str) -> str:
    """The text with its control characters as Python writes them (`\\x1b`): for a terminal, which would obey them."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def shorten(name: str, width: int) -> str:
    """A name in at most `width` printable characters; it is not escaped."""
    return _cut(_plain(name), width)


def label_text(name: str) -> str:
    """An untrusted short text, such as a currency, in a label: harmless, at most 30 characters."""
    return html.escape(_cut(_plain(name), 30), quote=False)


def hover_text(name: str, width: int = 38) -> str:
    """An untrusted name in full for a hover text: broken into lines of `width` and harmless."""
    lines = textwrap.wrap(_plain(name), width, break_on_hyphens=True) or [""]
    return "<br>".join(html.escape(line, quote=False) for line in lines)


def _plain(name: str) -> str:
    return " ".join("".join(char if char.isprintable() else " " for char in name).split())


def _cut(text: str, width: int) -> str:
    if len(text) <= width:
        return text
    short = text
    while len(short) > width and "/" in short[:-1]:
        short = short.partition("/")[2]
    if len(short) <= width:
        return short
    head = (width - 1) * 3 // 5
    return f"{short[:head]}…{short[len(short) - (width - 1 - head) :]}"


def _window(text: str, begin: int, width: int) -> str:
    """The part of a text from `begin` on, with an ellipsis at each end that is cut."""
    before = "…" if begin else ""
    room = width - len(before)
    rest = text[begin:]
    return before + (rest if len(rest) <= room else f"{rest[: room - 1]}…")
