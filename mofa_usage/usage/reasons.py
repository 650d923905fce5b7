"""Questions beyond breakdowns: prices, reasons of changes, waste, service levels, completeness.

`UsageFrame` has them as methods. Each hands its calls to the function that knows the answer, and styles what it gets.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self, Unpack

from mofa_usage import audit, changes, efficiency, repricing, service
from mofa_usage.audit.bills import BillSource, Reconciliation, reconcile
from mofa_usage.errors import UsageError
from mofa_usage.reading.relation import told
from mofa_usage.usage.held import needs_them_here

if TYPE_CHECKING:
    from duckdb import DuckDBPyRelation

    from mofa_usage.analysis import Breakdown, By
    from mofa_usage.audit import Budget, Completeness, CompletenessOptions, Limit
    from mofa_usage.changes import Change, ChangeOptions, SliceOptions
    from mofa_usage.changes.periods import Pair
    from mofa_usage.efficiency import CacheOptions, SessionOptions, Sessions, WasteOptions
    from mofa_usage.measures import Measure
    from mofa_usage.pricing import PriceBook
    from mofa_usage.repricing import AsOf, Factor, Step
    from mofa_usage.repricing.against import AgainstOptions
    from mofa_usage.service import ServiceLevel, ServiceOptions
    from mofa_usage.usage.held import HeldCalls
    from mofa_usage.zones import Moment

__all__ = ["Reasons"]


class Reasons:
    """What can be asked of the calls of a usage, which has them and says in which zone their days are counted."""

    tz: str
    start: datetime | None
    end: datetime | None
    _held: "HeldCalls"

    def _style(self, answer: "Breakdown", by: "By | None") -> None:
        """Let an answer know how the names in its dimensions look."""
        raise NotImplementedError

    def _with_money(self, step: "Step") -> Self:
        """These calls with other money."""
        raise NotImplementedError

    def _here(self, question: str, tz: str | None = None) -> "DuckDBPyRelation":
        """The calls for a question that only DuckDB answers.

        Raises:
            UsageError: they are where it is not; the message names the question and the way out.
        """
        if self._held.elsewhere is not None:
            raise UsageError(needs_them_here(question, self._held.elsewhere))
        return self._held.relation(tz or self.tz)

    def with_prices(self, book: "PriceBook | None" = None, *, as_of: "AsOf" = "call", recompute: bool = False) -> Self:
        """The calls with the prices of a price book, by default the list prices: those that have none, or all.

        The column `price_source` says of each price what it is: `recorded`; `computed` by the book, every token at its
        own rate; `standard_estimate` where the book had to put one rate for another (a tier, a cache lifetime, tokens
        that are not what the provider said; `Price.exact`); null where the price is unknown. So it is a dimension, and
        `cost` says how much of it was computed.

        Calls in files stay lazy. For which models and days the book has prices is asked now.

        Args:
            book: which prices: `PriceBook.load("prices.toml").or_else(PriceBook.default())`.
            as_of: the prices of the day (UTC) of each call ("call"), of today ("now"), or of a date.
            recompute: price all calls anew. What the book does not know is unknown then. `recorded_price` and
                `recorded_currency` keep what each call had before.

        Raises:
            UsageError: a column that prices need was not loaded, or `as_of` is none of these.
            MissingExtraError: the extra `pricing` is not installed, and no book is given.
        """
        with told():
            step = repricing.prices(self._here("with_prices"), book, as_of=as_of, recompute=recompute)
        return self._with_money(step)

    def what_if(
        self,
        models: "Mapping[str, str]",
        book: "PriceBook | None" = None,
        *,
        token_factor: "Factor | Mapping[str, Factor]" = 1,
    ) -> Self:
        """The calls of some models at the price of others on their days: `usage.what_if({"gpt-4o": "gpt-4o-mini"})`.

        They stay calls of their own model (`model_name`); `priced_as` names the other, `price_source` says how sure
        the price is, and `recorded_price` is what each call had before: `against_recorded` compares both. Calls of
        models that are not named stay as they are. Tier, batch and cached tokens count as they would for the other
        model; what it would have answered nobody knows.

        Args:
            models: the other model by the one that was asked for.
            book: which prices, by default the list prices.
            token_factor: how many tokens the other model has for one, where it cuts text in another way; a number, or
                one by the model that was asked for. Prompt and completion are multiplied and rounded half to even,
                their parts (cached, written, reasoning, audio) are rounded down.

        Raises:
            UsageError: no models, a model that the book has no price of at all, a factor that is none, a column that
                was not loaded.
            MissingExtraError: the extra `pricing` is not installed, and no book is given.
        """
        with told():
            step = repricing.other_models(self._here("what_if"), models, book, token_factor=token_factor)
        return self._with_money(step)

    def in_currency(self, currency: str, rates: Any) -> Self:
        """The calls with their prices in one currency, converted at the rate of the call's day.

        Of a day without a rate the last one before counts: `rate_day` says which, `converted_from` the currency that
        the price was in, and `recorded_price` and `recorded_currency` what it was. A price without a rate is unknown,
        and its call stays. Amounts are exact, and rounded half to even at ten places. After `what_if` the recorded
        price is converted, too (`compared_price`, `compared_currency`), and `against_recorded` compares the two.

        Args:
            currency: the wanted one, an ISO 4217 code.
            rates: a frame with the columns `date`, `currency`, and `rate`: what one unit of that currency is worth in
                the wanted one. Days are those of `tz`.

        Raises:
            UsageError: `currency` is no code, the rates are no such frame, a currency has two rates of one day, a
                column that is needed was not loaded.
        """
        with told():
            step = repricing.conversions(self._here("in_currency"), currency, rates, tz=self.tz)
        return self._with_money(step)

    def against_recorded(self, by: "By | None" = None, **options: "Unpack[AgainstOptions]") -> "Breakdown":
        """What calls with other money would have cost beside what was recorded: how much less, or more.

        `usage.what_if({"gpt-4o": "gpt-4o-mini"}).against_recorded()`: see `mofa_usage.repricing.against_recorded`.
        """
        with told():
            answer = repricing.against_recorded(self._held.relation(self.tz), by, tz=self.tz, **options)
        self._style(answer, by)
        return answer

    def explain_change(
        self, before: "Pair", after: "Pair", by: "By" = "model_name", **options: "Unpack[ChangeOptions]"
    ) -> "Change":
        """Why the cost changed from one period to another: see `mofa_usage.changes.explain_change`."""
        with told():
            answer = changes.explain_change(self._held.queried(self.tz), before, after, by, tz=self.tz, **options)
        self._style(answer, by)
        return answer

    def drivers(
        self, measure: "str | Measure", before: "Pair", after: "Pair", **options: "Unpack[SliceOptions]"
    ) -> "Breakdown":
        """The slices of calls that explain most of a change: see `mofa_usage.changes.drivers`.

        `usage.drivers("cost", ("2026-04-01", "2026-05-01"), ("2026-05-01", "2026-06-01"))`
        """
        with told():
            return changes.drivers(self._held.queried(self.tz), measure, before, after, tz=self.tz, **options)

    def slow_drivers(self, quantile: float = 0.99, **options: "Unpack[SliceOptions]") -> "Breakdown":
        """The slices that have most of the slowest calls: see `mofa_usage.changes.slow_drivers`."""
        with told():
            return changes.slow_drivers(self._held.queried(self.tz), quantile, tz=self.tz, **options)

    def waste(self, by: "By | None" = None, **options: "Unpack[WasteOptions]") -> "Breakdown":
        """What was paid for nothing, by kind: see `mofa_usage.efficiency.waste`."""
        with told():
            answer = efficiency.waste(self._here("waste"), by, tz=self.tz, **options)
        self._style(answer, by)
        return answer

    def cache_savings(self, by: "By | None" = None, **options: "Unpack[CacheOptions]") -> "Breakdown":
        """What prompt caches saved and could have saved: see `mofa_usage.efficiency.cache_savings`."""
        with told():
            answer = efficiency.cache_savings(self._here("cache_savings"), by, tz=self.tz, **options)
        self._style(answer, by)
        return answer

    def sessions(self, **options: "Unpack[SessionOptions]") -> "Sessions":
        """What conversations cost, and how their turns grow: see `mofa_usage.efficiency.sessions`."""
        with told():
            return efficiency.sessions(self._here("sessions"), tz=self.tz, **options)

    def service_level(self, by: "By | None" = None, **options: "Unpack[ServiceOptions]") -> "ServiceLevel":
        """How many calls were within limits, error budgets, calls in flight: see `mofa_usage.service.service_level`."""
        with told():
            answer = service.service_level(self._held.queried(self.tz), by, tz=self.tz, **options)
        self._style(answer.level, by)
        return answer

    def completeness(self, **options: "Unpack[CompletenessOptions]") -> "Completeness":
        """What is missing, what is there twice, and what cannot be: see `mofa_usage.audit.completeness`."""
        options.setdefault("end", self.end)
        with told():
            answer = audit.completeness(self._here("completeness"), tz=self.tz, **options)
        self._style(answer.coverage, None)
        return answer

    def reconcile(self, bill: BillSource) -> Reconciliation:
        """Compare the providers' own reports of usage and costs with these calls: is it all here?

        `usage.reconcile("bills/may").findings` is empty where both sides agree. See `mofa_usage.audit.bills.reconcile`
        for what a bill is and how it is compared; days are those of UTC, whatever the zone of this usage.

        Raises:
            UsageError: no such file, or a file that is no report of usage or costs; the message names it.
        """
        with told():
            found = reconcile(self._here("reconcile", "UTC"), bill, start=self.start, end=self.end)
        self._style(found.comparison, ["model_name"])
        return found

    def check(self, *limits: "Budget | Limit | str", now: "Moment | None" = None) -> "Breakdown":
        """Whether limits are kept: see `mofa_usage.audit.limits.check`; text is a budget: `usage.check("500/month")`.

        A budget counts those calls of its calendar period that are here, from the start of the usage on.
        """
        asked = [audit.budget(limit) if isinstance(limit, str) else limit for limit in limits]
        with told():
            return audit.check(self._held.native(self.tz), asked, end=self.end, now=now, tz=self.tz)
