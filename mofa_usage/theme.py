"""One look for every picture: colours and Plotly templates.

**Colours.** Eight hues that stay apart for the colour-blind (six of Okabe and Ito's and two that were searched for by
their distance in Oklab under simulated protanopia, deuteranopia and tritanopia) and that stand out from white as well
as from the dark background, so that light and dark figures use the same ones. `styles` gives each name its hue from the
name itself; only a clash with another name of the same frame moves it, and it does not matter in which order the names
come. So a model keeps its colour from figure to figure. Names beyond the eighth repeat the hues with a pattern (bars)
and with a dash and another mark (lines). What is folded together ("other") is grey, and each status has a colour of its
own.

**Templates.** Importing this module registers `mofa_usage_light`, `mofa_usage_dark` and `mofa_usage` with Plotly. A
figure holds nothing that depends on light or dark; all of that is in its template, so a page can change it afterwards
(`relayout({template})`). `mofa_usage` looks like the light one and says of itself that nobody chose it: a figure with
it follows its page.
"""

import hashlib
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple, TypeAlias

from mofa_usage.errors import UsageError, require

__all__ = [
    "ACCENT",
    "OTHER",
    "PALETTE",
    "PERCENTILE_STYLES",
    "STATUS_STYLES",
    "THEMES",
    "Style",
    "Theme",
    "colors",
    "styles",
    "template",
]

require("plotly", extra="analysis")
import plotly.graph_objects as go  # noqa: E402 (after the check that names the extra)
import plotly.io as pio  # noqa: E402

Theme: TypeAlias = Literal["light", "dark"]

THEMES: tuple[Theme, ...] = ("light", "dark")

PALETTE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#7B3FE4", "#94436B")
PATTERNS = ("", "/", "x", ".")
DASHES = ("solid", "dash", "dot", "dashdot")
_SYMBOLS = {"solid": "circle", "dash": "square", "dot": "diamond", "dashdot": "triangle-up", "longdash": "x"}


class Style(NamedTuple):
    """How one group is drawn: hue, pattern of its bars, dash of its lines (Plotly's names)."""

    color: str
    pattern: str = ""
    dash: str = "solid"

    @property
    def symbol(self) -> str:
        """The marks of its lines and points, another one for each dash."""
        return _SYMBOLS.get(self.dash, "circle")


ACCENT = Style(PALETTE[0])
"""For figures of a single series."""

OTHER = Style("#8B9099")
"""What was folded together, and calls without a value."""

STATUS_STYLES: Mapping[str, Style] = MappingProxyType(
    {
        "success": Style("#009E73"),
        "failed": Style("#D55E00"),
        "timeout": Style("#E69F00"),
        "rate_limited": Style("#7B3FE4"),
        "cancelled": Style("#9AA1AC"),
    }
)

PERCENTILE_STYLES: Mapping[str, Style] = MappingProxyType(
    {
        "p50": Style("#0072B2"),
        "p90": Style("#56B4E9"),
        "p95": Style("#E69F00"),
        "p99": Style("#D55E00"),
        "max": Style("#7B3FE4"),
        "mean": Style("#8B9099", dash="dot"),
        "overall": Style("#009E73", dash="dash"),
    }
)


def styles(names: Iterable[str]) -> dict[str, Style]:
    """A style for each name.

    Up to eight names get eight hues, whatever their order. Of more, the first eight get plain hues, the next eight the
    same hues with a pattern, and so on: give the heaviest first. To keep the colours of several figures together
    although their frames hold different names, compute the styles once from all names and pass them to each figure.
    """
    distinct = list(dict.fromkeys(names))
    found: dict[str, Style] = {}
    for start in range(0, len(distinct), len(PALETTE)):
        turn = start // len(PALETTE) % len(PATTERNS)
        for name, color in _hues(distinct[start : start + len(PALETTE)]).items():
            found[name] = Style(color, PATTERNS[turn], DASHES[turn])
    return found


def _hues(names: list[str]) -> dict[str, str]:
    """Each name takes the hue it likes best among those left; a hash of the name says what it likes and who goes first.

    A name that is added or taken away therefore moves only those that clash with it.
    """
    free = list(PALETTE)
    taken: dict[str, str] = {}
    for name in sorted(names, key=_digest):
        taken[name] = min(free, key=lambda color: _digest(f"{color}{name}"))
        free.remove(taken[name])
    return taken


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()


# Templates ------------------------------------------------------------------------------------------------------------

_FONT = "Inter, system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

_COLORS: Mapping[Theme, Mapping[str, str]] = MappingProxyType(
    {
        "light": {"paper": "#FFFFFF", "text": "#1F2430", "muted": "#5B6270", "grid": "#E7E9EE", "line": "#C3C8D1"},
        "dark": {"paper": "#15181D", "text": "#E8EAEE", "muted": "#A3AAB6", "grid": "#2A2F38", "line": "#454C58"},
    }
)
# From nothing to much, one hue, evenly in lightness; "much" is what stands out from the background.
_SCALES: Mapping[Theme, tuple[str, ...]] = MappingProxyType(
    {
        "light": ("#E9F2F9", "#B9D6EA", "#7FB4D8", "#3F8DC2", "#0F659F", "#063F6B"),
        "dark": ("#1B2A38", "#1E4666", "#216695", "#3A8BC0", "#74B3DC", "#C2E1F5"),
    }
)


def colors(theme: Theme) -> Mapping[str, str]:
    """Colours of a theme's background (`paper`), `text`, `muted` text, `grid` and `line`, as #RRGGBB."""
    return _COLORS[_checked(theme)]


def template(theme: Theme | None = None) -> str:
    """The name of the registered Plotly template; None is the one that follows its page, and else is light.

    Raises:
        UsageError: `theme` is neither "light" nor "dark".
    """
    return "mofa_usage" if theme is None else f"mofa_usage_{_checked(theme)}"


def _checked(theme: Theme) -> Theme:
    if theme not in ("light", "dark"):
        raise UsageError(f"there is no theme {theme!r}; there are: light, dark")
    return theme


def _axis(palette: Mapping[str, str], *, grid: bool) -> dict[str, object]:
    return {
        "automargin": True,
        "showgrid": grid,
        "gridcolor": palette["grid"],
        "linecolor": palette["line"],
        "zeroline": False,
        "ticks": "" if grid else "outside",
        "tickcolor": palette["line"],
        "ticklen": 4,
        "ticklabelstandoff": 4 if grid else 0,
        "tickfont": {"color": palette["muted"], "size": 11},
        "title": {"font": {"color": palette["muted"], "size": 12}, "standoff": 8},
    }


def _build(theme: Theme, **more: object) -> go.layout.Template:
    palette = _COLORS[theme]
    layout = {
        **more,
        "paper_bgcolor": palette["paper"],
        "plot_bgcolor": palette["paper"],
        "colorway": PALETTE,
        "font": {"family": _FONT, "size": 12, "color": palette["text"]},
        "title": {
            "x": 0,
            "xref": "container",
            "xanchor": "left",
            "y": 1,
            "yref": "container",
            "yanchor": "top",
            "pad": {"l": 12, "t": 14},
            "font": {"size": 16, "weight": 600},
            "subtitle": {"font": {"size": 12, "color": palette["muted"]}},
        },
        "margin": {"l": 12, "r": 16, "t": 72, "b": 12, "pad": 0},
        "xaxis": {**_axis(palette, grid=False), "showline": True},
        "yaxis": _axis(palette, grid=True),
        "legend": {
            "orientation": "h",
            "x": 0.01,
            "xref": "container",
            "xanchor": "left",
            "y": 0,
            "yref": "container",
            "yanchor": "bottom",
            "traceorder": "normal",
            "font": {"size": 12},
            "bgcolor": "rgba(0,0,0,0)",
            "itemsizing": "trace",
        },
        "barmode": "stack",
        "bargap": 0.14,
        "hovermode": "closest",
        "hoverlabel": {
            "align": "left",
            "namelength": -1,
            "bgcolor": palette["paper"],
            "bordercolor": palette["line"],
            "font": {"family": _FONT, "size": 12, "color": palette["text"]},
        },
        # What cuts a bar is a gap in it.
        "shapedefaults": {"line": {"color": palette["paper"], "width": 3}},
        "annotationdefaults": {"showarrow": False, "font": {"color": palette["text"], "size": 12}},
        "coloraxis": {"colorbar": {"outlinewidth": 0, "tickfont": {"color": palette["muted"]}}},
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": palette["line"], "activecolor": palette["muted"]},
    }
    steps = _SCALES[theme]
    scale = [[index / (len(steps) - 1), color] for index, color in enumerate(steps)]
    data = {
        # Neighbours in a stack are separated by a line of the background, so hue alone need not tell them apart.
        "bar": [go.Bar(marker={"line": {"color": palette["paper"], "width": 0.6}}, error_x={"color": palette["text"]})],
        "heatmap": [go.Heatmap(colorscale=scale)],
    }
    return go.layout.Template(layout=layout, data=data)


for _theme in THEMES:
    pio.templates[template(_theme)] = _build(_theme)
pio.templates[template()] = _build("light", meta="follows its page")
