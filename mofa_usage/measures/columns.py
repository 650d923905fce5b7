"""The columns of an answer that hold money.

Where the priced calls of an answer are in one currency, a measure of money is one column, which bears its name, and a
last column `currency` says which. Where they are in several, there is a column for each of them.

>>> money_columns("cost", ["EUR"]), money_columns("cost", ["EUR", "USD"])
({'EUR': 'cost'}, {'EUR': 'cost_EUR', 'USD': 'cost_USD'})
>>> measure_of_column("cost_per_call_EUR"), measure_of_column("cost"), measure_of_column("model_name")
(('cost_per_call', 'EUR'), ('cost', None), None)
>>> measure_of_column("cost_p95_low_EUR"), measure_of_column("cost_share_of_day_EUR")
(('cost_p95_low', 'EUR'), ('cost_share_of_day', 'EUR'))
"""

import re
from collections.abc import Sequence

from mofa_usage.errors import UsageError
from mofa_usage.measures.answers import ANSWERS
from mofa_usage.measures.bounds import bound_of, named_bound
from mofa_usage.measures.derived import known_measure
from mofa_usage.measures.formulas import Measure, Share

__all__ = ["measure_in", "measure_of_column", "money_columns"]


def money_columns(measure: str, currencies: Sequence[str]) -> dict[str, str]:
    """The column of a measure of money for each of the currencies of an answer, in their order.

    `currencies` are those of the answer (`Breakdown.currencies`): with one of them, or in the long form (`currency` in
    `by`), the column is the measure's name.
    """
    if len(currencies) == 1:
        return {currencies[0]: measure}
    return {currency: f"{measure}_{currency}" for currency in currencies}


def measure_of_column(name: str) -> tuple[str, str | None] | None:
    """The measure in a column of an answer, and its currency where the column's name says one.

    None for a column that holds no measure that `measure` knows, such as a dimension.
    """
    found = measure_in(name)
    return None if found is None else (found[0].name, found[1])


def measure_in(column: str) -> tuple[Measure, str | None] | None:
    """The same, the measure itself in place of its name."""
    parts = column.split("_")
    for length in range(len(parts), 0, -1):
        found, currency = _called("_".join(parts[:length])), "_".join(parts[length:])
        if found is None or (length == len(parts) and _ends_in_currency(found)):
            continue
        if not currency and length == len(parts):
            return found, None
        return (found, currency) if found.of_money else None
    return None


def _ends_in_currency(found: Measure) -> bool:
    """Whether what looks like the dimension of a share of money has a currency behind it: `cost_share_of_day_EUR`."""
    of = found.formula.of if isinstance(found.formula, Share) else None
    return of is not None and found.of_money and re.search("_[A-Z]{3}$", of) is not None


def _called(name: str) -> Measure | None:
    """The measure of that name, also one that only a question of its own has, or an end of an interval."""
    base = named_bound(name)
    try:
        found = known_measure(name) or ANSWERS.get(name)
        of = known_measure(base) if found is None and base is not None else None
    except UsageError:
        return None
    return found if of is None else bound_of(of, name)
