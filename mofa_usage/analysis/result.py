"""What an analysis returns: a small Polars frame that can also be drawn.

Polars knows nothing of answers: some of its methods give a plain frame, and some a frame of the same class that has
lost what it knew. So those that choose, order, rename or replace rows and columns are wrapped, once, with Polars' own
signatures and descriptions, and give an answer again. All others (`group_by`, `join`, `pivot`, `transpose`, arithmetic,
...) make something else of it, which is a plain frame.
"""

from collections.abc import Callable, Mapping
from functools import wraps
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, Unpack, cast, overload

import polars as pl
from polars import selectors

from mofa_usage.analysis.sentences import sentences
from mofa_usage.analysis.tables import html_table, text_table
from mofa_usage.errors import UsageError, require
from mofa_usage.measures import Roles

if TYPE_CHECKING:
    from plotly.graph_objects import Figure
    from polars._typing import MultiColSelector, MultiIndexSelector, SingleColSelector, SingleIndexSelector

    from mofa_usage.plots import DrawOptions
    from mofa_usage.theme import Style

__all__ = ["Breakdown", "one_of"]

_P = ParamSpec("_P")

_SAME_NUMBERS = ("drop", "rename", "reverse", "sort", "with_row_index")
"""Methods that leave every number what it was; of the others the numbers tell."""


def _kept(method: Callable[_P, pl.DataFrame]) -> "Callable[_P, Breakdown]":
    """A method of Polars that gives an answer, which knows what the one before knew."""

    @wraps(method)
    def keeping(*args: _P.args, **kwargs: _P.kwargs) -> "Breakdown":
        return cast("Breakdown", args[0])._followed_by(method(*args, **kwargs), method.__name__)

    return keeping


class Breakdown(pl.DataFrame):
    """A Polars frame of dimension columns followed by measure columns.

    It is a `polars.DataFrame` in every way; `draw` turns it into a Plotly figure. What `filter`, `sort`, `head`,
    `select`, `with_columns`, `rename`, slices and the like make of it is a Breakdown again: its columns keep their
    roles (a renamed one, too; a new one has none), and its names their styles. `polars.concat` gives a plain frame,
    `vstack` an answer. `Breakdown(frame)` makes an answer of any frame whose columns have the usual names.

    Attributes:
        roles: What its columns are: dimensions, measures, currencies (see `mofa_usage.measures.Roles`).
        totals: One answer for each level above, the whole last; empty where they were not asked for, and where rows
            were left out or numbers changed since: they would be the totals of something else.
        styles_of: The styles of all names of a dimension, so that a name looks alike in all figures of a `UsageFrame`,
            which sets it: to something small, since an answer outlives the calls. Pickle leaves it out.
    """

    totals: "tuple[Breakdown, ...]" = ()
    styles_of: Callable[[str], "Mapping[str, Style]"] | None = None
    _roles: Roles | None = None

    # Rows.
    bottom_k = _kept(pl.DataFrame.bottom_k)
    clear = _kept(pl.DataFrame.clear)
    drop_nans = _kept(pl.DataFrame.drop_nans)
    drop_nulls = _kept(pl.DataFrame.drop_nulls)
    filter = _kept(pl.DataFrame.filter)
    gather = _kept(pl.DataFrame.gather)
    gather_every = _kept(pl.DataFrame.gather_every)
    head = _kept(pl.DataFrame.head)
    limit = _kept(pl.DataFrame.limit)
    remove = _kept(pl.DataFrame.remove)
    reverse = _kept(pl.DataFrame.reverse)
    sample = _kept(pl.DataFrame.sample)
    slice = _kept(pl.DataFrame.slice)
    sort = _kept(pl.DataFrame.sort)
    tail = _kept(pl.DataFrame.tail)
    top_k = _kept(pl.DataFrame.top_k)
    unique = _kept(pl.DataFrame.unique)
    vstack = _kept(pl.DataFrame.vstack)
    # Columns.
    cast = _kept(pl.DataFrame.cast)
    drop = _kept(pl.DataFrame.drop)
    fill_nan = _kept(pl.DataFrame.fill_nan)
    fill_null = _kept(pl.DataFrame.fill_null)
    hstack = _kept(pl.DataFrame.hstack)
    interpolate = _kept(pl.DataFrame.interpolate)
    rename = _kept(pl.DataFrame.rename)
    select = _kept(pl.DataFrame.select)
    select_seq = _kept(pl.DataFrame.select_seq)
    shift = _kept(pl.DataFrame.shift)
    update = _kept(pl.DataFrame.update)
    with_columns = _kept(pl.DataFrame.with_columns)
    with_columns_seq = _kept(pl.DataFrame.with_columns_seq)
    with_row_index = _kept(pl.DataFrame.with_row_index)
    # The same.
    __copy__ = _kept(pl.DataFrame.__copy__)
    __deepcopy__ = _kept(pl.DataFrame.__deepcopy__)
    clone = _kept(pl.DataFrame.clone)
    rechunk = _kept(pl.DataFrame.rechunk)
    set_sorted = _kept(pl.DataFrame.set_sorted)
    shrink_to_fit = _kept(pl.DataFrame.shrink_to_fit)

    @overload
    def __getitem__(self, key: "tuple[SingleIndexSelector, SingleColSelector]") -> Any: ...
    @overload
    def __getitem__(  # type: ignore[overload-overlap]  # as Polars has it: text is a sequence of text
        self, key: "str | tuple[MultiIndexSelector, SingleColSelector]"
    ) -> pl.Series: ...
    @overload
    def __getitem__(
        self,
        key: "SingleIndexSelector | MultiIndexSelector | MultiColSelector"
        "| tuple[SingleIndexSelector, MultiColSelector] | tuple[MultiIndexSelector, MultiColSelector]",
    ) -> "Breakdown": ...
    def __getitem__(self, key: Any) -> Any:
        """A column, a value, or an answer of some of the rows and columns."""
        part = super().__getitem__(key)
        return self._followed_by(part, "slice") if isinstance(part, pl.DataFrame) else part

    @classmethod
    def _from_pydf(cls, py_df: Any) -> pl.DataFrame:
        # Through this Polars would make an answer that knows nothing of whatever else it makes of an answer.
        return pl.DataFrame._from_pydf(py_df)

    def _followed_by(self, frame: pl.DataFrame, method: str) -> "Breakdown":
        """What a method of Polars made of it, as an answer."""
        roles = self._roles
        if method == "rename":
            roles = self.roles.renamed(dict(zip(self.columns, frame.columns, strict=True)))
        answer = Breakdown(frame) if roles is None else Breakdown.of(frame, roles.within(frame.columns))
        answer.styles_of = self.styles_of
        if self.totals and (method in _SAME_NUMBERS or self._has_numbers_of(answer)):
            answer.totals = self.totals
        return answer

    def _has_numbers_of(self, answer: "Breakdown") -> bool:
        return answer.height == self.height and all(
            answer[name].equals(self[name]) for name in answer.roles.measures if name in self.columns
        )

    @classmethod
    def of(cls, frame: pl.DataFrame, roles: Roles) -> "Breakdown":
        """The frame as an answer whose columns have those roles."""
        answer = cls(frame)
        answer._roles = roles
        return answer

    @property
    def roles(self) -> Roles:
        """What its columns are; of a frame that was written by hand their names say it."""
        if self._roles is None:
            numeric = [name for name, dtype in self.schema.items() if dtype.is_numeric()]
            text = [name for name, dtype in self.schema.items() if dtype == pl.String]
            return Roles.guessed(self.columns, numeric=numeric, text=text)
        return self._roles.within(self.columns)

    @property
    def currencies(self) -> tuple[str, ...]:
        """The currencies of its columns of money, the one with most priced calls first.

        Empty where no measure is money, no call has a price, or `currency` is a dimension.
        """
        return self.roles.currencies

    def floats(self) -> "Breakdown":
        """The same with money as Float64, for what takes no decimals, such as Altair, seaborn and pandas.

        Amounts are rounded to the 15 to 17 digits that a float has.
        """
        answer = self.with_columns(selectors.decimal().cast(pl.Float64))
        answer.totals = tuple(total.floats() for total in self.totals)
        return answer

    def __str__(self) -> str:
        """A table for a terminal: money as money, no number cut. `polars.DataFrame(answer)` prints as Polars does."""
        return text_table(self, self.roles, self._whole())

    __repr__ = __str__

    def _repr_html_(self, *, _from_series: bool = False) -> str:
        """A table for a notebook, of at most 25 rows: money as money, names as they are, the whole last."""
        return self.as_html(self.sentence)

    def as_html(self, said: str) -> str:
        """The same with what somebody says of it, instead of its own sentence."""
        return html_table(self, self.roles, self._whole(), said)

    @property
    def sentence(self) -> str:
        """What it says, in one or two plain sentences made of its numbers; names in it are untrusted.

        >>> Breakdown({"model_name": ["gpt-4o", "o3"], "calls": [61, 39]}).sentence
        'There are 100 calls; gpt-4o has 61.0% of them.'
        """
        return " ".join(self.sentences)

    @property
    def sentences(self) -> list[str]:
        """The sentences of `sentence`, each by itself."""
        return sentences(self, self.roles, self._whole())

    def _whole(self) -> tuple[pl.DataFrame, Roles] | None:
        return (self.totals[-1], self.totals[-1].roles) if self.totals else None

    def __getstate__(self) -> Any:
        """What pickle keeps: the frame, what its columns are, and the totals."""
        return super().__getstate__(), self._roles, self.totals

    def __setstate__(self, state: Any) -> None:
        frame, self._roles, self.totals = state
        super().__setstate__(frame)

    def draw(
        self,
        kind: str | None = None,
        *,
        theme: Literal["light", "dark"] | None = None,
        styles: "Mapping[str, Style] | None" = None,
        **options: "Unpack[DrawOptions]",
    ) -> "Figure":
        """Draw it.

        `kind` names the picture; without it the columns decide (see `mofa_usage.plots.draw`, which also takes the
        options). `theme` is "light" or "dark"; by default it is that of the notebook's page, and light elsewhere.
        `styles` are those of the names; by default they look as in every other figure of the usage.

        Raises:
            MissingExtraError: Plotly is not installed.
            UsageError: the columns do not make such a picture.
        """
        require("plotly", extra="analysis")
        # Pictures are drawn from any small frame and know nothing of analyses; only this word leads to them.
        from mofa_usage.plots import draw

        colored = self.roles.categories  # names are what is told apart by colour
        if styles is None and self.styles_of is not None and len(colored) == 1:
            styles = self.styles_of(self.roles.dimensions[colored[0]].name)
        figure: Figure = draw(self, kind, theme=theme, styles=styles, **options)
        return figure


def one_of(answers: Mapping[str, Breakdown], name: str, of: str) -> Breakdown:
    """The answer of that name, of several that belong together, to be drawn.

    Raises:
        UsageError: there is none; the message says of what there are which figures.
    """
    if name not in answers:
        raise UsageError(f"there is no figure {name!r} of {of}; there are: {', '.join(answers)}")
    return answers[name]
