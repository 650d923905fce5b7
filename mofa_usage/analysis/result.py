"""What an analysis returns: a small Polars frame that can also be drawn."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from mofa_usage.errors import require
from mofa_usage.measures import DIMENSIONS

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["Breakdown"]


class Breakdown(pl.DataFrame):
    """A Polars frame of dimension columns followed by measure columns.

    It is a `polars.DataFrame` in every way; `draw` turns it into a Plotly figure. Frames derived from it (by `filter`,
    `head`, ...) may be plain Polars frames: `Breakdown(frame).draw()` draws those.
    """

    styles_of: Callable[[str], Mapping[str, Any]] | None = None
    """Set by a `UsageFrame`: the styles of all its names in a dimension, so that a name looks alike in all figures."""

    def draw(self, kind: str | None = None, *, theme: Literal["light", "dark"] = "light", **options: Any) -> "Figure":
        """Draw it.

        `kind` names the picture; without it the columns decide (see `mofa_usage.plots.draw`, which also takes the
        options). `theme` is "light" or "dark".

        Raises:
            MissingExtraError: Plotly is not installed.
            UsageError: the columns do not make such a picture.
        """
        require("plotly", extra="analysis")
        # Pictures are drawn from any small frame and know nothing of analyses; only this word leads to them.
        from mofa_usage.plots import draw

        names = [name for name in self.columns if name in DIMENSIONS and DIMENSIONS[name].kind == "category"]
        colored = [name for name in names if name != "currency"]
        if self.styles_of is not None and len(colored) == 1:
            options = {"styles": self.styles_of(colored[0]), **options}
        figure: Figure = draw(self, kind, theme=theme, **options)
        return figure
