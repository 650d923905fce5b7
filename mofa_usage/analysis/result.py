"""What an analysis returns: a small Polars frame that can also be drawn."""

from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from mofa_usage.errors import require

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["Breakdown"]


class Breakdown(pl.DataFrame):
    """A Polars frame of dimension columns followed by measure columns.

    It is a `polars.DataFrame` in every way; `draw` turns it into a Plotly figure. Frames derived from it (by `filter`,
    `head`, ...) may be plain Polars frames: `Breakdown(frame).draw()` draws those.
    """

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

        figure: Figure = draw(self, kind, theme=theme, **options)
        return figure
