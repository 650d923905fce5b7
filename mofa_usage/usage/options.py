"""The options that several functions of a usage share, typed, so that an editor completes and mypy checks them."""

from collections.abc import Mapping, Sequence
from typing import TypedDict

from mofa_usage.analysis import DistributionOf, PeriodOptions
from mofa_usage.reading.object_stores import StorageOptions
from mofa_usage.zones import Moment

__all__ = ["DistributionOptions", "LoadOptions"]


class LoadOptions(TypedDict, total=False):
    """The options of `load_usage`, which says what they mean."""

    start: Moment | None
    end: Moment | None
    tz: str
    columns: Sequence[str] | None
    mapping: Mapping[str, str | None] | None
    round_prices: bool
    storage_options: StorageOptions | None
    progress: bool | None


class DistributionOptions(PeriodOptions, total=False):
    """As `mofa_usage.analysis.distribution` takes them: what to count by, and at most how many bins."""

    of: DistributionOf
    bins: int
