"""What an analysis returns: a small Polars frame that can also be drawn."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, Unpack

import polars as pl

from mofa_usage.errors import require
from mofa_usage.measures import Roles

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from mofa_usage.plots import DrawOptions
    from mofa_usage.theme import Style

__all__ = ["Breakdown"]


class Breakdown(pl.DataFrame):
    """A Polars frame of dimension columns followed by measure columns.

    It is a `polars.DataFrame` in every way; `draw` turns it into a Plotly figure. Frames derived from it (by `filter`,
    `head`, ...) may be plain Polars frames: `Breakdown(frame).draw()` draws those.

    Attributes:
        roles: What its columns are: dimensions, measures, currencies (see `mofa_usage.measures.Roles`).
        totals: One answer for each level above, the whole last; empty where they were not asked for.
        styles_of: The styles of all names of a dimension, so that a name looks alike in all figures of a `UsageFrame`,
            which sets it: to something small, since an answer outlives the calls. Pickle leaves it out.
    """

    totals: "tuple[Breakdown, ...]" = ()
    styles_of: Callable[[str], "Mapping[str, Style]"] | None = None
    _roles: Roles | None = None

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
        theme: Literal["light", "dark"] = "light",
        styles: "Mapping[str, Style] | None" = None,
        **options: "Unpack[DrawOptions]",
    ) -> "Figure":
        """Draw it.

        `kind` names the picture; without it the columns decide (see `mofa_usage.plots.draw`, which also takes the
        options). `theme` is "light" or "dark". `styles` are those of the names; by default they look as in every other
        figure of the usage.

        Raises:
            MissingExtraError: Plotly is not installed.
            UsageError: the columns do not make such a picture.
        """
        require("plotly", extra="analysis")
        # Pictures are drawn from any small frame and know nothing of analyses; only this word leads to them.
        from mofa_usage.plots import draw

        colored = self._categories()
        if styles is None and self.styles_of is not None and len(colored) == 1:
            styles = self.styles_of(colored[0])
        figure: Figure = draw(self, kind, theme=theme, styles=styles, **options)
        return figure

    def _categories(self) -> list[str]:
        """The columns of names that are drawn in colours: categories but for currencies."""
        return [
            name for name, entry in self.roles.dimensions.items() if entry.kind == "category" and name != "currency"
        ]
