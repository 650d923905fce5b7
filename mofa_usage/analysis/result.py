"""What an analysis returns: a small Polars frame that can also be drawn."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, Unpack

import polars as pl

from mofa_usage.errors import require
from mofa_usage.measures import measure_of_column

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
        currencies: Those of its columns of money, the one with most priced calls first; empty where no measure is
            money, no call has a price, or `currency` is a dimension.
        styles_of: The styles of all names of a dimension, so that a name looks alike in all figures of a `UsageFrame`,
            which sets it: to something small, since an answer outlives the calls. Pickle leaves it out.
    """

    currencies: tuple[str, ...] = ()
    styles_of: Callable[[str], "Mapping[str, Style]"] | None = None

    @classmethod
    def of(cls, frame: pl.DataFrame, currencies: tuple[str, ...] = ()) -> "Breakdown":
        """The frame as an answer whose columns of money are in those currencies."""
        answer = cls(frame)
        answer.currencies = currencies
        return answer

    def __getstate__(self) -> Any:
        """What pickle keeps: the frame and its currencies."""
        return super().__getstate__(), self.currencies

    def __setstate__(self, state: Any) -> None:
        frame, self.currencies = state
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
        """The columns of names that are drawn in colours: text that is no currency."""
        text = (name for name, dtype in self.schema.items() if dtype == pl.String)
        return [name for name in text if name != "currency" and measure_of_column(name) is None]
