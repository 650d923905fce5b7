"""Durations in text that says its unit: `1.245s`, `PT1.245S`, `0 days 00:00:01.245`."""

import re
from decimal import Decimal

__all__ = ["duration_in"]

_UNITS = {
    **dict.fromkeys(("ns", "nanoseconds"), "0.000001"),
    **dict.fromkeys(("us", "\u00b5s", "\u03bcs", "microseconds"), "0.001"),
    **dict.fromkeys(("ms", "msec", "milliseconds"), "1"),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), "1000"),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), "60000"),
    **dict.fromkeys(("h", "hour", "hours"), "3600000"),
}
"""How many milliseconds a unit is."""

_NUMBER = r"(\d{1,12}(?:\.\d{1,12})?)"
_WITH_UNIT = re.compile(rf"{_NUMBER}\s*({'|'.join(sorted(_UNITS, key=len, reverse=True))})", re.ASCII)
_ISO = re.compile(rf"P(?:(\d{{1,5}})D)?(?:T(?:(\d{{1,7}})H)?(?:(\d{{1,9}})M)?(?:{_NUMBER}S)?)?", re.ASCII)
_CLOCK = re.compile(r"(?:(\d{1,5}) days?,? )?(\d{1,7}):([0-5]\d):([0-5]\d(?:\.\d{1,9})?)", re.ASCII)


def duration_in(text: str) -> Decimal | None:
    """The milliseconds that a text says; None where it is no duration with a unit."""
    text = text.strip()
    if (found := _WITH_UNIT.fullmatch(text)) is not None:
        return Decimal(found[1]) * Decimal(_UNITS[found[2]])
    parts = _ISO.fullmatch(text) or _CLOCK.fullmatch(text)
    if parts is None or not any(parts.groups()):
        return None
    days, hours, minutes, seconds = (Decimal(part or 0) for part in parts.groups())
    return (((days * 24 + hours) * 60 + minutes) * 60 + seconds) * 1000
