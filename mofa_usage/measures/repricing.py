"""The numbers of calls at other prices beside those that they had: see `mofa_usage.repricing.against`."""

from mofa_usage.measures.formulas import Aggregate, Measure, Ratio

__all__ = ["AGAINST"]


def _money(name: str, title: str, description: str, value: str) -> Measure:
    return Measure(name, title, "money", "currency", description, Aggregate("sum", value))


def _calls(name: str, title: str, description: str, value: str) -> Measure:
    return Measure(name, title, "count", "calls", description, Aggregate("count", value))


AGAINST = (
    _money("recorded_cost", "Recorded cost", "What the compared calls cost before.", "compared_recorded"),
    _money("other_cost", "Other cost", "What the compared calls cost at the other prices.", "compared_other"),
    _money("other_change", "Difference", "Other cost - recorded cost; below 0 where it is cheaper.", "total_price"),
    Measure(
        "other_change_rate",
        "Difference in %",
        "rate",
        "",
        "Difference / recorded cost, of the compared calls.",
        # Of what has a currency, so that there is one for each.
        Ratio(Aggregate("sum", "total_price"), Aggregate("sum", "compared_recorded")),
    ),
    _calls("compared_calls", "Compared calls", "Calls with both prices, in one currency.", "total_price"),
    _calls("unpriced_other", "Without another price", "Calls without another price: unknown.", "lacks_other"),
    _calls("unpriced_recorded", "Without a recorded price", "Calls with the other price alone.", "lacks_recorded"),
    _calls("two_currencies", "In two currencies", "Calls whose two prices are in different currencies.", "differ"),
)
"""The numbers of the answer that only it has."""
