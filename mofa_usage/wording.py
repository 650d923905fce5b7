"""Numbers and names as text: money, counts, durations, rates, and labels of what untrusted names say.

A single number is written by `value_text`, a column of numbers by `column_texts`, which writes them alike so that they
line up, and the value of a dimension by `dimension_text`. Amounts are rounded for showing only. Names of models and
agents are untrusted: Plotly reads its labels as a small HTML, so every name that goes into a figure goes through
`short_labels`, `label_text` or `hover_text`.
"""

import html
import math
import os
import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import TypeGuard

from mofa_usage.measures import Dimension, MeasureColumn, Quantity

__all__ = [
    "ENDED",
    "NONE",
    "WEEKDAYS",
    "between",
    "calls",
    "column_texts",
    "compact",
    "count",
    "dimension_text",
    "duration",
    "heading",
    "hover_text",
    "inside",
    "interval_name",
    "interval_text",
    "label_text",
    "money",
    "money_texts",
    "percent",
    "short_labels",
    "shorten",
    "shortened",
    "signed_money",
    "value_text",
    "visible",
]

ENDED = {
    "failed": "failed",
    "timeout": "timed out",
    "rate_limited": "rate limited",
    "cancelled": "cancelled by the user",
}
"""How calls that did not succeed ended, in words, by their status."""

NONE = "(none)"
"""What stands for no name: the row of the calls that have none."""

_DASH = "–"  # noqa: RUF001 (a dash for "no value")
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("January", "February", "March", "April", "May", "June",
           "July", "August", "September", "October", "November", "December")  # fmt: skip

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


def signed_money(amount: Decimal | None, currency: str) -> str:
    """`+$12.30`, `-EUR 4.00`, `$0.00`: a change; None is "unknown"."""
    text = money(amount, currency)
    return f"+{text}" if amount is not None and amount > 0 and text.strip("$0.") else text


def count(number: int | float | None) -> str:
    """`12,345`; None is a dash."""
    return _DASH if number is None else f"{number:,.0f}"


def decimals(number: float, least: int = 2) -> str:
    """A number with at least so many decimals, and below 1 with two digits that say something.

    >>> decimals(1234.567), decimals(0.01932), decimals(0.0), decimals(15.25, 1)
    ('1,234.57', '0.019', '0.00', '15.2')
    """
    return f"{number:,.{_places(number, least)}f}"


def _places(number: float, least: int) -> int:
    return max(least, 1 - math.floor(math.log10(abs(number)))) if 0 < abs(number) < 1 else least


def calls(number: int | float) -> str:
    """`1 call`, `1,467 calls`."""
    return f"{count(number)} call{'' if number == 1 else 's'}"


def inside(title: str) -> str:
    """A title within a sentence: its first letter is small, unless all are capitals."""
    return title if title.isupper() else f"{title[:1].lower()}{title[1:]}"


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
    if milliseconds < 0:
        return f"-{duration(-milliseconds)}"
    if milliseconds < 999.5:
        return f"{milliseconds:.0f} ms" if milliseconds >= 10 or milliseconds == 0 else f"{milliseconds:.2g} ms"
    seconds = milliseconds / 1000
    if seconds < 99.95:
        return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes:,} min {rest} s" if rest else f"{minutes:,} min"


def percent(rate: float | None) -> str:
    """`97.2%` of a fraction, `100.4%` of more than the whole, `-12.5%` of what fell.

    What is not quite everything never reads 100%, what is not quite nothing never 0%.
    """
    if rate is None:
        return count(None)
    if rate in (0, 1, -1):
        return f"{rate + 0:.0%}"  # of -0.0, too
    for digits in range(1, 7):
        text = f"{rate:,.{digits}%}"
        if abs(float(text.rstrip("%").replace(",", ""))) not in (0, 100):
            return text
    sign, below, above = ("", "<", ">") if rate > 0 else ("-", ">", "<")
    if abs(rate) < 0.5:
        return f"{below}{sign}0.000001%"
    return f"{above}{sign}{'99.999999%' if abs(rate) < 1 else '100%'}"


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
        return f"{decimals(number, 1)} tokens/s"
    if number is not None and kind == "count" and not number.is_integer():
        return decimals(number)  # a mean of counts, or a rate of them
    return f"{count(number)} tokens" if number is not None and kind == "tokens" else count(number)


def interval_text(low: object, high: object, kind: Quantity, currency: str = "USD") -> str:
    """An interval with the units of its ends; one that is not known is left open, and of two nothing is said.

    >>> interval_text(0.7, 0.95, "rate"), interval_text(790, None, "ms"), interval_text(None, 5, "ms")
    ('70.0% to 95.0%', 'at least 790 ms', 'at most 5 ms')
    """
    texts = [None if end is None else value_text(end, kind, currency) for end in (low, high)]
    return between(*texts)


def between(low: str | None, high: str | None) -> str:
    """From one text to another, either of which may be unknown."""
    if low is None or high is None:
        return f"at least {low}" if low is not None else "" if high is None else f"at most {high}"
    return f"{low} to {high}"


def interval_name(level: float | None) -> str:
    """What intervals at a level are called: `95% interval`."""
    return (
        "interval"
        if level is None
        else f"{Decimal(str(level * 100)).quantize(Decimal('1e-9')).normalize():f}% interval"
    )


# Columns of numbers ---------------------------------------------------------------------------------------------------


def column_texts(
    values: Sequence[object], kind: Quantity, currencies: Sequence[str | None] = ()
) -> tuple[str, list[str]]:
    """The values of a column, written alike, and the unit that belongs into its head ("" where they bear it).

    Money has the same number of decimals throughout, durations one unit. `currencies` are those of the amounts, one for
    each. What is no number, since somebody put text there, is written as it is.

    >>> column_texts([820, 3210.4, None], "ms")[1][:2], column_texts([820], "ms")
    (['0.82', '3.21'], ('ms', ['820']))
    >>> column_texts([Decimal("187.0495"), Decimal("0.0123")], "money", ["USD", "USD"])
    ('', ['$187.050', '$0.012'])
    """
    numbers = [value if _is_number(value) else None for value in values]
    unit = ""
    if kind == "money":
        texts = money_texts(numbers, currencies)
    elif kind == "ms":
        unit, texts = _durations([None if number is None else float(number) for number in numbers])
    elif kind == "rate":
        texts = [percent(None if number is None else float(number)) for number in numbers]
    elif kind == "tokens/s":
        unit, texts = kind if any(number is not None for number in numbers) else "", _fractions(numbers, 1)
    else:
        is_whole = all(number is None or number == int(number) for number in numbers)
        texts = _alike(numbers, 0) if is_whole else _fractions(numbers, 2)
    written = zip(values, numbers, texts, strict=True)
    return unit, [str(value) if number is None and isinstance(value, str) else text for value, number, text in written]


def money_texts(amounts: Sequence[Decimal | float | None], currencies: Sequence[str | None] = ()) -> list[str]:
    """Amounts with the same number of decimals; a dash for None, `<$0.01` for what is less than can be seen.

    There are as many decimals as the smallest amount needs for two digits (for three where all are alike small), but at
    most two more than the largest needs for three. A currency that is not said is USD.

    >>> money_texts([Decimal("187.0495"), Decimal("0.0123")]), money_texts([Decimal("0.0022397")])
    (['$187.050', '$0.012'], ['$0.00224'])
    >>> money_texts([Decimal(12345), Decimal("0.00000007"), Decimal(0)], ["USD", "EUR", None])
    ['$12,345.00', '<EUR 0.01', '$0.00']
    """
    exact = [None if amount is None else Decimal(str(amount)) for amount in amounts]
    sizes = [amount.adjusted() for amount in exact if amount]
    least, largest = min(sizes, default=0), max(sizes, default=0)
    significant = 3 if largest < 0 and largest - least < 2 else 2
    digits = min(max(2, 2 - largest) + 2, max(2, significant - 1 - least))
    while digits > 2 and all(f"{amount:.{digits}f}".endswith("0") for amount in exact if amount):
        digits -= 1
    codes = [*currencies, *[None] * (len(exact) - len(currencies))]
    return [
        _DASH if amount is None else _amount(amount, code, digits) for amount, code in zip(exact, codes, strict=True)
    ]


def _amount(amount: Decimal, currency: str | None, digits: int) -> str:
    symbol = "$" if currency in (None, "USD") else f"{currency} "
    least = Decimal(1).scaleb(-digits)
    if amount and abs(amount) < least / 2:
        return f"{'<' if amount > 0 else '>-'}{symbol}{least:f}"
    return f"{'-' if amount < 0 else ''}{symbol}{abs(amount):,.{digits}f}"


def _durations(milliseconds: Sequence[float | None]) -> tuple[str, list[str]]:
    """In milliseconds where all are below a second, else in seconds."""
    known = [abs(number) for number in milliseconds if number]
    least, most = min(known, default=0.0), max(known, default=0.0)
    if most < 999.5:
        has_any = any(number is not None for number in milliseconds)
        return "ms" if has_any else "", _alike(milliseconds, 0 if least >= 10 or not known else 1)
    seconds = [None if number is None else number / 1000 for number in milliseconds]
    return "s", _alike(seconds, 1 if least >= 9_995 else 2 if least >= 99.5 else 3)


def _alike(numbers: Sequence[Decimal | float | None], digits: int) -> list[str]:
    return [_DASH if number is None else f"{number:,.{digits}f}" for number in numbers]


def _fractions(numbers: Sequence[Decimal | float | None], least: int) -> list[str]:
    """With so many decimals that the smallest has two digits, but at most two more than the largest needs."""
    sizes = sorted(abs(float(number)) for number in numbers if number)
    digits = min(_places(sizes[0], least), _places(sizes[-1], least) + 2) if sizes else least
    smallest = f"{10**-digits:.{digits}f}"
    return [
        f"<{smallest}" if number is not None and 0 < number < 10**-digits / 2 else text
        for number, text in zip(numbers, _alike(numbers, digits), strict=True)
    ]


def _is_number(value: object) -> TypeGuard[Decimal | float]:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool) and math.isfinite(value)


def heading(column: MeasureColumn) -> str:
    """What stands above a column: the title, with the currency where the column is of one of several.

    >>> from mofa_usage.measures import MEASURES
    >>> heading(MeasureColumn(MEASURES["cost"])), heading(MeasureColumn(MEASURES["cost"], "EUR"))
    ('Cost', 'Cost (EUR)')
    """
    return f"{column.measure.title} ({column.currency})" if column.currency else column.measure.title


# Dimensions -----------------------------------------------------------------------------------------------------------


def dimension_text(value: object, dimension: Dimension) -> str:
    """The value of a dimension in words: `Mon`, `09:00`, `May 2026`, `2026-05-04 14:00`, `(none)`.

    A name stays as it is, untrusted; a blank one is in quotes. The hours that the autumn repeats say which they
    are: `2026-10-25 02:00 CEST`.

    >>> from mofa_usage.measures import DIMENSIONS
    >>> dimension_text(1, DIMENSIONS["weekday"]), dimension_text(9, DIMENSIONS["hour_of_day"])
    ('Mon', '09:00')
    >>> dimension_text(date(2026, 5, 1), DIMENSIONS["month"]), dimension_text(None, DIMENSIONS["model_name"])
    ('May 2026', '(none)')
    """
    if value is None:
        return NONE
    if isinstance(value, datetime):
        return _moment(value)
    if isinstance(value, date):
        return f"{_MONTHS[value.month - 1]} {value.year}" if dimension.name == "month" else value.isoformat()
    if isinstance(value, int) and dimension.name == "weekday" and 1 <= value <= 7:
        return WEEKDAYS[value - 1]
    if isinstance(value, int) and dimension.name == "hour_of_day":
        return f"{value:02}:00"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text if text.strip() else f'"{text}"'


def _moment(moment: datetime) -> str:
    earlier, later = (moment.replace(fold=fold).utcoffset() for fold in (0, 1))
    text = f"{moment:%Y-%m-%d %H:%M:%S}".removesuffix(":00")
    return text if earlier == later else f"{text} {moment.tzname()}"


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
