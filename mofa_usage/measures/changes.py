"""The numbers of `explain_change`: a cost before and after, and the parts of its change."""

from mofa_usage.measures.formulas import Measure, Quantity, Reckoned

__all__ = ["CHANGE"]


def _part(name: str, title: str, description: str, kind: Quantity = "money", unit: str = "") -> Measure:
    """A number of `explain_change`."""
    return Measure(name, title, kind, unit, description, Reckoned("explain_change"), additive=True)


CHANGE: tuple[Measure, ...] = (
    _part("cost_before", "Cost before", "What the priced calls of the period before cost."),
    _part("cost_after", "Cost after", "What the priced calls of the period after cost."),
    _part("cost_change", "Change of cost", "Cost after - cost before: the sum of the five parts."),
    _part("volume", "More or fewer calls", "The part of the change that the number of all calls makes."),
    _part("mix", "Mix of calls", "The part that the shares of models, tiers and groups in all calls make."),
    _part("tokens_per_call", "Tokens per call", "The part that longer or shorter prompts and completions make."),
    _part("cache", "Cache", "The part that the share of prompts makes that is read from the cache or written to it."),
    _part("price", "Price", "The part that prices of tokens make, and what was paid of list prices."),
    _part("calls_before", "Calls before", "Priced calls of the period before.", "count", "calls"),
    _part("calls_after", "Calls after", "Priced calls of the period after.", "count", "calls"),
    _part("unpriced_before", "Unpriced before", "Calls before without a price, which are left out.", "count", "calls"),
    _part("unpriced_after", "Unpriced after", "Calls after without a price, which are left out.", "count", "calls"),
)
