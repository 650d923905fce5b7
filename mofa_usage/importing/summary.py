"""What an import did, as numbers and as sentences for people."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from mofa_usage.importing.rejects import RejectReason
from mofa_usage.names import DURATIONS, plain_name

__all__ = ["ImportResult"]

_PLAIN = {"csv", "jsonl", "parquet", "table", "sql"}
_FILES_SHOWN = 3


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What an import did. `str()` of it is a summary for people.

    Attributes:
        sources: the files, in their order; standard input is `standard input`.
        format: csv, jsonl, parquet, table, sql (the answer of a query) or the name of a tool's logs
            (`Claude Code session logs`); several, joined by commas, where they differ.
        rows: how many rows were read; `stored + replaced + rejected`.
        stored: how many new calls were stored.
        replaced: how many calls there were already, by their ids: in the store, or in a row before.
        unchanged: how many of those were equal to what was there, so that nothing had to be written.
        rejected: how many were refused.
        reasons: why, the most frequent reason first.
        rejects_path: the file with the refused rows, if one was asked for.
        columns: field -> the column that its values came from.
        ignored: columns that have values which were not used.
        start, end: the first and last create_time of the calls that were not refused, UTC; None when there was none.
        zoneless_times: how many times had no zone and were read as times of `tz`.
        tz: the IANA name of that zone.
        tokens_read: how token counts were read where their names could mean two things, a sentence each.
        unknown_tokens: how many calls have token counts that are not known.
        rounded_prices: how many prices were rounded to ten decimal places.
        priced: how many calls got a price of the book.
        left_out: how many rows of tools' logs are none of the calls, and no mistake either, by what they are. They are
            not among `rows`.
        unrecognised: the files of folders that are of no known format and were not read.
    """

    sources: tuple[str, ...]
    format: str
    rows: int
    stored: int
    replaced: int
    unchanged: int
    rejected: int
    reasons: tuple[RejectReason, ...]
    rejects_path: Path | None
    columns: Mapping[str, str]
    ignored: tuple[str, ...]
    start: datetime | None
    end: datetime | None
    zoneless_times: int
    tz: str
    tokens_read: tuple[str, ...]
    unknown_tokens: int
    rounded_prices: int
    priced: int
    left_out: Mapping[str, int]
    unrecognised: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join((self.headline, *self.notes(), *map(str, self.reasons), *self.rejects_note()))

    @property
    def headline(self) -> str:
        """How many rows became what, in one line."""
        parts = [f"{self.stored:,} stored"]
        if self.replaced:
            some = "" if self.unchanged == self.replaced else f"{self.unchanged:,} of them "
            equal = f" ({some}equal to what was there already)" if self.unchanged else ""
            parts.append(f"{self.replaced:,} replaced{equal}")
        parts.append(f"{self.rejected:,} refused")
        where = f" in {len(self.sources):,} files" if len(self.sources) > 1 else ""
        return f"{_count(self.rows, 'row')}{where}: {', '.join(parts)}"

    def notes(self) -> Iterator[str]:
        """What else is worth knowing, a sentence each; the options named are those of the command line."""
        if not set(self.format.split(", ")) <= _PLAIN:
            yield f"read as {self.format}"
        if self.start and self.end:
            yield f"from {self.start:%Y-%m-%d %H:%M} to {self.end:%Y-%m-%d %H:%M} UTC"
        if self.zoneless_times:
            was = "was" if self.zoneless_times == 1 else "were"
            yield f"{_count(self.zoneless_times, 'time')} had no zone and {was} read as {self.tz} (--tz says another)"
        if self.left_out:
            yield f"left out: {', '.join(f'{what} ({number:,})' for what, number in self.left_out.items())}"
        if self.unrecognised:
            shown = ", ".join(self.unrecognised[:_FILES_SHOWN]) + (", ..." if self.unrecognised[_FILES_SHOWN:] else "")
            yield f"{_count(len(self.unrecognised), 'file')} of no known format, not read: {shown}"
        for sentence in self.tokens_read:
            yield f"{sentence} (--tokens says otherwise)"
        if self.unknown_tokens:
            yield f"{_count(self.unknown_tokens, 'call')} with tokens that are not known"
        if self.rounded_prices:
            yield f"{_count(self.rounded_prices, 'price')} rounded to 10 decimal places"
        if self.priced:
            yield f"{_count(self.priced, 'call')} priced by the price book"
        if self.rows > self.rejected and "model_name" not in self.columns:
            yield "no column names the model (-m model_name=COLUMN, or -d model_name=NAME)"
        if self.ignored:
            yield f"not used: {', '.join(self.ignored)} (-m FIELD=COLUMN uses one)"
        for name in self.ignored:
            if plain_name(name) in DURATIONS:
                yield f"{name} does not say its unit (-m latency_ms={name} if it is milliseconds, else --sql)"

    def rejects_note(self) -> Iterator[str]:
        """Where the refused rows are, if they were written anywhere."""
        if self.rejects_path is not None and self.rejected:
            yield f"the refused rows are in {self.rejects_path}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
