"""Calls at the price of another model: what the same work would have cost there, as far as that can be told.

The tokens are those of the call. Where the other model cuts text into more or fewer of them, a factor says so: prompt
and completion are multiplied and rounded half to even, their parts (cached, written, audio, reasoning) rounded down, so
that no part gets larger than its whole. What the other model would have answered nobody knows.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from mofa_usage.errors import UsageError, require
from mofa_usage.pricing import PriceBook
from mofa_usage.pricing.quotes import Question, tier_of
from mofa_usage.reading.columns import literal
from mofa_usage.repricing.charges import rounded, rounded_down
from mofa_usage.repricing.parts import answered_sql, ask_for
from mofa_usage.repricing.priced import money_columns_of, priced_columns
from mofa_usage.repricing.quoting import Answers, CallKind
from mofa_usage.repricing.steps import asked, before, selected

require("duckdb", extra="analysis")
import duckdb  # noqa: E402

__all__ = ["Factor", "OtherModel", "other_models"]

Factor = int | float | Decimal | Fraction
"""By how much there would be more tokens."""

_WHOLES = ("prompt_tokens", "completion_tokens")
_PARTS = (
    *("cached_tokens", "cache_write_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens", "prompt_audio_tokens"),
    *("reasoning_tokens", "completion_audio_tokens"),
)
_HIGHEST, _LONGEST = 1_000, 10**15


@dataclass(frozen=True)
class OtherModel:
    """The step that gives the calls of some models the price of others.

    Attributes:
        answers: what the book says of them, under the names of the models that they are of.
        models: the other model by the one that was asked for.
        factors: how many tokens it has for one, by the model that was asked for; those that are not here have one.
    """

    answers: Answers
    models: Mapping[str, str]
    factors: Mapping[str, Fraction]

    def columns(self, has: Collection[str]) -> tuple[str, ...]:
        """See `Step`."""
        tokens = [name for name in (*_WHOLES, "total_tokens", *_PARTS) if name in has] if self.factors else []
        return (*tokens, *money_columns_of(has), "priced_as", *before(has))

    def apply(self, calls: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
        """See `Step`."""
        has = calls.columns
        others = _case(self.models, "priced_as" if "priced_as" in has else "CAST(NULL AS VARCHAR)")
        columns = {**priced_columns(has, _is_one_of(self.models)), "priced_as": others, **before(has)}

        def query(these: str) -> str:
            if self.factors:
                these = f"({selected(f'FROM {these}', has, self._tokens(has))})"
            return selected(answered_sql(these, has, self.answers), has, columns)

        return asked(calls, query)

    def _tokens(self, has: Collection[str]) -> dict[str, str]:
        columns = {name: self._multiplied(name, rounded) for name in _WHOLES if name in has}
        columns |= {name: self._multiplied(name, rounded_down) for name in _PARTS if name in has}
        if "total_tokens" in has:
            sum_ = " + ".join(columns[name] for name in _WHOLES)
            columns["total_tokens"] = f"CASE WHEN {_is_one_of(self.factors)} THEN {sum_} ELSE total_tokens END"
        return columns

    def _multiplied(self, name: str, divided: Callable[[str, int], str]) -> str:
        cases = (
            f"WHEN model_name = {literal(model)} "
            f"THEN CAST({divided(f'(CAST({name} AS HUGEINT) * {factor.numerator})', factor.denominator)} AS BIGINT)"
            for model, factor in self.factors.items()
        )
        return f"(CASE {' '.join(cases)} ELSE {name} END)"


def other_models(
    calls: duckdb.DuckDBPyRelation,
    models: Mapping[str, str],
    book: PriceBook | None = None,
    *,
    token_factor: Factor | Mapping[str, Factor] = 1,
) -> OtherModel:
    """The step that gives these calls the price of other models, as of the day of each call.

    Args:
        calls: for which models and days the book is asked.
        models: the other model by the name of the one that was asked for (`model_name`).
        book: which prices, by default the list prices.
        token_factor: how many tokens the other model has for one; a number, or one by the model that was asked for.

    Raises:
        UsageError: no models, no call that asked for one of them, no factor above 0, a model that has no price at all,
            a column that is missing.
        MissingExtraError: the extra `pricing` is not installed, and no book is given.
    """
    if not isinstance(models, Mapping) or not models:
        raise UsageError('what_if takes models by the one that was asked for: {"gpt-4o": "gpt-4o-mini"}')
    for name in (*models, *models.values()):
        if not isinstance(name, str) or not name.strip():
            raise UsageError(f"{name!r:.60} is no name of a model")
    factors = _factors(models, token_factor)
    book = book or PriceBook.default()

    def questions(kind: CallKind, at: datetime) -> tuple[Question, ...]:
        tier, other = tier_of(kind.service_tier, kind.speed), models[kind.asked]
        # Who sold the one may sell the other; else it is of who made it.
        return tuple(Question(other, None, provider, tier, at) for provider in dict.fromkeys((kind.provider, None)))

    answers = ask_for(calls, book, None, which=_is_one_of(models), questions=questions)
    if not (answers.priced or answers.unknown):
        _refuse_if_nothing_is_of(models, calls)
    never = {models[kind.asked] for kind in answers.unknown} - {models[kind.asked] for kind in answers.priced}
    if never:
        raise UsageError(f"there is no price for {min(never)!r}: {book.has_none}")
    return OtherModel(answers, dict(models), factors)


def _refuse_if_nothing_is_of(models: Collection[str], calls: duckdb.DuckDBPyRelation) -> None:
    """Calls of none of the models would stay as they are, and the name that was mistyped stay unseen."""
    sql = "SELECT model_name FROM {} GROUP BY model_name ORDER BY count(*) DESC, model_name LIMIT 10"
    there = [f"{name!r:.60}" for (name,) in asked(calls, sql.format).fetchall() if name is not None]
    if there:
        raise UsageError(f"no call asked for {' or '.join(map(repr, models))}; models here: {', '.join(there)}")


def _factors(models: Mapping[str, str], given: Factor | Mapping[str, Factor]) -> dict[str, Fraction]:
    """The factors that are not 1, exactly as they are written."""
    factors: dict[str, Fraction] = {}
    for model, factor in (given if isinstance(given, Mapping) else dict.fromkeys(models, given)).items():
        if model not in models:
            raise UsageError(f"token_factor has {model!r:.60}, which is none of the models: {', '.join(models)}")
        if isinstance(factor, bool) or not isinstance(factor, int | float | Decimal | Fraction):
            raise UsageError(f"token_factor is {factor!r:.60}; it is a number, or one by model")
        if not 0 < factor <= _HIGHEST:  # nor what is no number
            raise UsageError(f"token_factor is {factor}; it must be above 0, and {_HIGHEST} at most")
        exact = factor if isinstance(factor, Fraction) else Fraction(str(factor))
        if max(exact.numerator, exact.denominator) > _LONGEST:
            raise UsageError(f"token_factor is {factor}; it has too many digits")
        if exact != 1:
            factors[model] = exact
    return factors


def _is_one_of(models: Collection[str]) -> str:
    return f"coalesce(model_name IN ({', '.join(map(literal, models))}), false)"


def _case(models: Mapping[str, str], otherwise: str) -> str:
    cases = " ".join(f"WHEN model_name = {literal(one)} THEN {literal(other)}" for one, other in models.items())
    return f"CASE {cases} ELSE {otherwise} END"
