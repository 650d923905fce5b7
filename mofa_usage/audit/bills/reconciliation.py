"""The answer to "does the bill agree with what was recorded?": findings, both sides, a sentence, a picture."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from html import escape
from typing import TYPE_CHECKING, Literal

import duckdb
import polars as pl

from mofa_usage.analysis import Breakdown
from mofa_usage.audit.bills.answers import both_sides, found
from mofa_usage.audit.bills.comparing import Compared, Within, compare
from mofa_usage.audit.bills.findings import Finding
from mofa_usage.audit.bills.joining import Fault, join
from mofa_usage.audit.bills.reading import BillSource, pages_of
from mofa_usage.audit.bills.recorded import QUARTER, recorded
from mofa_usage.errors import UsageError
from mofa_usage.wording import count
from mofa_usage.zones import DAY, utc

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["Reconciliation", "covered", "reconcile"]

_NO_DAYS = "no day of this bill is there as a whole, so that there is nothing to compare"


@dataclass(frozen=True)
class Reconciliation:
    """A bill and the calls that were recorded, compared by day (of UTC) and model.

    Attributes:
        findings: What is not as it should be, empty where both sides agree: `kind` (`mofa_usage.audit.bills.KINDS` says
            what each means), `day` (of several the first), `provider_name`, `model_name` (null: all), `sentence`, and
            `billed`, `recorded` and their `difference` in `unit`: tokens, requests or a currency.
        comparison: Both sides by day, provider and model, as far as the reports tell them.
        by_day: Both sides by day and provider; `draw` shows it.
        notes: What a reader should know of what was not compared, as sentences without full stops.
    """

    findings: Breakdown
    comparison: Breakdown
    by_day: Breakdown
    notes: tuple[str, ...] = ()

    @property
    def is_clean(self) -> bool:
        """Whether nothing was found."""
        return self.findings.is_empty()

    @property
    def sentence(self) -> str:
        """What came out, in one sentence or some; names in it are untrusted."""
        both = self.by_day.sentence
        if self.is_clean:
            return f"The bill agrees with what was recorded. {both}"
        number = self.findings.height
        heads = " ".join(f"{text}." for text in self.findings["sentence"].head(2))
        more = f" And {count(number - 2)} more." if number > 2 else ""
        return f"{count(number)} finding{'s' if number > 1 else ''} in the bill. {heads}{more} {both}"

    def draw(self, *, theme: Literal["light", "dark"] | None = None) -> "Figure":
        """Billed against recorded per day, and the difference; see `Breakdown.draw`."""
        return self.by_day.draw(theme=theme)

    def __str__(self) -> str:
        return "\n".join([self.sentence, *(f"Note: {note}." for note in self.notes)])

    def _repr_html_(self) -> str:
        """The sentence, the findings and what to know, for a notebook."""
        notes = "".join(f"<li>{escape(note)}</li>" for note in self.notes)
        table = "" if self.is_clean else self.findings._repr_html_()
        said = "The bill agrees with what was recorded. " if self.is_clean else ""
        return f"{table}<div>{escape(said + self.by_day.sentence)}</div>{f'<ul>{notes}</ul>' if notes else ''}"


def covered(bill: BillSource) -> tuple[datetime, datetime]:
    """The time [start, end) from the first to the last of what a bill tells of, in UTC.

    Raises:
        UsageError: as `reconcile`.
    """
    buckets = [bucket for page in pages_of(bill) for bucket in page.buckets]
    if not buckets:
        raise UsageError(_NO_DAYS)
    return utc(min(bucket.start for bucket in buckets)), utc(max(bucket.end for bucket in buckets))


def reconcile(
    calls: duckdb.DuckDBPyRelation,
    bill: BillSource,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
) -> Reconciliation:
    """Compare the providers' reports of usage and costs with the calls that were recorded.

    Days are days of UTC, as bills have them, and only those that the bill covers and that were loaded as a whole count.
    A call is on a provider's bill if its provider or its model says so, and of the model that served it. A call of
    unknown tokens (a timeout) is never taken for one that used none.

    Args:
        calls: With `create_time`, `model_name`, `prompt_tokens`, `completion_tokens`; everything else is optional.
        bill: A folder, files (`.json`, `.jsonl`, `.csv`) or parsed pages, of both providers mixed. Pages of OpenAI's
            `/v1/organization/usage/completions` (and `embeddings`) and `/v1/organization/costs`, of Anthropic's
            `/v1/organizations/usage_report/messages` and `/v1/organizations/cost_report`, and the CSV exports of both
            consoles. Ask for days, grouped by model (costs by `line_item` and `description`); grouped by service tier
            and batch, too, tiers are compared.
        start, end: The half-open time that was loaded, where it was not everything.

    Raises:
        UsageError: no such file, a file that is no such report (named), or a column of the calls is missing.
    """
    statements, faults, notes = join(pages_of(bill))
    spans = [span for statement in statements for span in statement.spans.values()]
    if not spans:
        raise UsageError(_NO_DAYS)
    first, last = min(first for first, _ in spans), max(last for _, last in spans)
    rows = recorded(calls, first - DAY, last + DAY)
    within = Within(start, end, datetime.now(UTC))
    made = [
        compare(same, rows.filter(pl.col("provider") == provider), within)
        for provider in sorted({statement.report.provider for statement in statements})
        if (same := [one for one in statements if one.report.provider == provider])
    ]
    return _answer(made, [*_faults(faults, rows)], notes)


def _faults(faults: Sequence[Fault], rows: pl.DataFrame) -> Iterator[Finding]:
    """What is wrong with the pages as findings; a hole between two downloads only if there are calls in it."""
    for fault in faults:
        if fault.if_used is not None:
            day = pl.col("quarter") * QUARTER // DAY
            inside = (pl.col("provider") == fault.provider) & day.is_between(min(fault.if_used), max(fault.if_used))
            if not rows.filter(inside)["used"].sum():
                continue
        yield Finding(fault.kind, fault.provider, fault.moment // DAY, None, fault.sentence)


def _answer(made: Sequence[Compared], findings: Sequence[Finding], notes: Sequence[str]) -> Reconciliation:
    every = [*findings, *(one for part in made for one in part.findings)]
    tokens = [cell for part in made for cell in part.tokens]
    costs = [cell for part in made for cell in part.costs]
    said = [replace(one, sentence=_capital(one.sentence)) for one in _joined(every)]
    return Reconciliation(
        found(said),
        both_sides(tokens, costs, ("day", "provider_name", "model_name")),
        both_sides(tokens, costs, ("day", "provider_name")),
        tuple(_capital(note) for note in dict.fromkeys((*notes, *(one for part in made for one in part.notes)))),
    )


def _capital(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"


_OF_ALL = ("billed_twice", "cents", "missing_in_bill", "missing_in_records", "recorded_twice", "zone_shift")
"""What is one fault where it is the same with several providers, or with usage and costs alike."""


def _joined(findings: Sequence[Finding]) -> list[Finding]:
    """The findings, those about one fault of several providers together."""
    same: dict[tuple[object, ...], list[Finding]] = {}
    for one in findings:
        alone = () if one.kind in _OF_ALL else (one.provider, one.model, one.sentence)
        day = 0 if one.kind == "zone_shift" else one.day
        same.setdefault((one.kind, day, *alone), []).append(one)
    return [_as_one(several) for several in same.values()]


def _as_one(findings: Sequence[Finding]) -> Finding:
    first = findings[0]
    told = {one.provider: one for one in reversed(findings)}  # of usage and costs the first
    if len(told) == 1:
        return first
    several = [told[name] for name in sorted(told)]
    is_summable = len({one.unit for one in several}) == 1 and all(one.billed is not None for one in several)
    billed, recorded = (
        sum((getattr(one, side) or Decimal(0) for one in several), Decimal(0)) if is_summable else None
        for side in ("billed", "recorded")
    )
    said = ". ".join(one.sentence for one in several)
    return Finding(
        first.kind, "", min(one.day for one in several), None, said, first.unit if is_summable else "", billed, recorded
    )
