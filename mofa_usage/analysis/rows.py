r"""An answer for programs: JSON and CSV, with the names of its measures and dimensions and with all that they hold.

Nothing is rounded: money has all its digits, in JSON as a number. Days are ISO dates, times have their offset, null is
null, and an empty cell in CSV. Names are what they are: who opens the CSV in a spreadsheet should import it as text.

>>> frame = pl.DataFrame({"day": [date(2026, 5, 4)], "model_name": [None], "cost": [Decimal("0.1234567890")]})
>>> as_json(frame)
'[\n{"day": "2026-05-04", "model_name": null, "cost": 0.123456789}\n]\n'
>>> as_csv(frame)
'day,model_name,cost\n2026-05-04,,0.123456789\n'
"""

import csv
import io
import json
import math
from datetime import date
from decimal import Decimal

import polars as pl

__all__ = ["as_csv", "as_json"]


def as_json(frame: pl.DataFrame) -> str:
    """An array with an object for each row, one a line; what JSON cannot say of a number (NaN) is null."""
    names = [json.dumps(name) for name in frame.columns]
    rows = [
        "{" + ", ".join(f"{name}: {_json(value)}" for name, value in zip(names, row, strict=True)) + "}"
        for row in frame.iter_rows()
    ]
    return "[\n" + ",\n".join(rows) + "\n]\n" if rows else "[]\n"


def as_csv(frame: pl.DataFrame) -> str:
    """A line of names, then one for each row in the order of the frame."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(frame.columns)
    lines.writerows([_csv(value) for value in row] for row in frame.iter_rows())
    return text.getvalue()


def _json(value: object) -> str:
    if isinstance(value, Decimal):
        return _digits(value)
    if isinstance(value, date):
        return json.dumps(value.isoformat())
    if isinstance(value, float) and not math.isfinite(value):
        return "null"
    # A terminal would obey what cannot be printed.
    return json.dumps(value, ensure_ascii=isinstance(value, str) and not value.isprintable(), default=str)


def _csv(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Decimal):
        return _digits(value)
    return value.isoformat() if isinstance(value, date) else value


def _digits(amount: Decimal) -> str:
    """All digits, without an exponent and the zeros behind the last."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
