"""The columns of an answer that hold money.

Where the priced calls of an answer are in one currency, a measure of money is one column, which bears its name, and a
last column `currency` says which. Where they are in several, there is a column for each of them.

>>> money_columns("cost", ["EUR"]), money_columns("cost", ["EUR", "USD"])
({'EUR': 'cost'}, {'EUR': 'cost_EUR', 'USD': 'cost_USD'})
>>> measure_of_column("cost_per_call_EUR"), measure_of_column("cost"), measure_of_column("model_name")
(('cost_per_call', 'EUR'), ('cost', None), None)
"""

from collections.abc import Sequence

from mofa_usage.measures.catalogue import MEASURES

__all__ = ["measure_of_column", "money_columns"]


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

    None for a column that holds no measure of `MEASURES`, such as a dimension.
    """
    if name in MEASURES:
        return name, None
    money = (entry for entry in MEASURES.values() if entry.kind == "money" and name.startswith(f"{entry.name}_"))
    found = max(money, key=lambda entry: len(entry.name), default=None)
    return None if found is None else (found.name, name[len(found.name) + 1 :])
