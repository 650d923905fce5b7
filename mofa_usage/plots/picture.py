"""A figure that shows itself in notebooks: in the colours of its page, and with all that it needs to be shown there.

Plotly leaves a figure in a notebook as data that JupyterLab draws in one fixed look and that a notebook turned into a
page (`jupyter nbconvert --to html`) does not draw at all. A `Picture` leaves a piece of a page: its data and a script
that draws it, again whenever the page turns dark or light. The library that draws, plotly.js of 4.8 MB, comes with the
first figure of a notebook, and all others find it there. Scripts run in notebooks that are trusted; elsewhere the piece
says in words what it would show.

Where you chose a renderer for Plotly (`pio.renderers.default = "png"`), or Plotly chose one that knows the place, such
as Colab, a picture shows itself as any other figure. In all else it is a `plotly.graph_objects.Figure`.
"""

import html
import json
import re
import secrets
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import plotly.graph_objects as go
import plotly.io as pio
from plotly.offline import get_plotlyjs

from mofa_usage import theme as look

__all__ = ["Picture", "embedded"]

_NOTEBOOKS = ("plotly_mimetype", "plotly_mimetype+notebook", "vscode")
"""Renderers that Plotly takes in notebooks for want of a choice."""


class Picture(go.Figure):  # type: ignore[misc]  # Plotly has no types
    """A Plotly figure that follows the theme of a notebook's page unless its template was chosen or changed."""

    def show(self, *args: Any, **kwargs: Any) -> None:
        """Show it; arguments are those of `plotly.io.show`, and decide themselves how it looks."""
        if args or kwargs or not _in_notebook():
            super().show(*args, **kwargs)
        else:
            self._ipython_display_()

    def _ipython_display_(self) -> None:
        if not _in_notebook():
            super()._ipython_display_()
            return
        from IPython.display import display

        show: Any = display  # which has no types
        show(self._repr_mimebundle_(), raw=True)

    def _repr_mimebundle_(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        if not _in_notebook():
            bundle: dict[str, Any] = super()._repr_mimebundle_(*args, **kwargs)
            return bundle
        return {"text/html": _page_part(self), "text/plain": f"Figure: {_plain_title(self)}"}


def embedded(value: Any) -> str:
    """JSON that is safe inside a script element: nothing in it can end the element or begin another."""
    text = json.dumps(value, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _in_notebook() -> bool:
    return bool(pio.renderers.render_on_display) and pio.renderers.default in _NOTEBOOKS


def _page_part(figure: go.Figure) -> str:
    parts = json.loads(pio.to_json(figure, validate=False))
    followed = pio.templates[look.template()].to_plotly_json()
    templates = None
    if parts["layout"].get("template") == followed:
        del parts["layout"]["template"]
        templates = {theme: pio.templates[look.template(theme)].to_plotly_json() for theme in look.THEMES}
    place = f"mofa-usage-{secrets.token_hex(8)}"
    words = f"{html.escape(_plain_title(figure))}: a figure that is drawn where scripts run, as in a trusted notebook"
    height = int(figure.layout.height or 450)
    return (
        f'<div id="{place}" style="min-height: {height}px">{words}</div>\n{_library()}'
        f"<script>({_drawing_script()})({embedded(place)}, {embedded(parts)}, {embedded(templates)});</script>"
    )


def _plain_title(figure: go.Figure) -> str:
    return html.unescape(re.sub("<.*?>", " ", figure.layout.title.text or "without a title"))


@cache
def _drawing_script() -> str:
    return files("mofa_usage.plots").joinpath("picture.js").read_text(encoding="utf-8").strip()


# The library in a notebook --------------------------------------------------------------------------------------------


class _Holder:
    """Remembers which cell of the kernel's notebook holds plotly.js: whoever runs it again, or deletes it, loses it."""

    def __init__(self) -> None:
        self._cell: str | None = None
        self._run: str | None = None

    def takes(self, message: Mapping[str, Any]) -> bool:
        """Whether the cell that a request asked to run is to hold the library (from now on)."""
        metadata, run = message.get("metadata", {}), message.get("header", {}).get("msg_id", "")
        cell = metadata.get("cellId") or message.get("content", {}).get("code", "")
        again = cell == self._cell and run != self._run
        if self._cell is None or again or self._cell in metadata.get("deletedCells", ()):
            self._cell, self._run = cell, run
            return True
        return False


_holder = _Holder()


def _library() -> str:
    """plotly.js as a script element, when the cell that is running is to hold it; else nothing."""
    if not _holder.takes(_running()):
        return ""
    # Under a name of its own, so that a page's other Plotly stays what it is; a page's module loader must not catch it.
    return (
        "<script>if (!window.mofaUsagePlotly) ((before, module, exports, define) => {\n"
        f"{get_plotlyjs()}\n"
        "window.mofaUsagePlotly = window.Plotly;\n"
        "if (before) window.Plotly = before;\n"
        'dispatchEvent(new Event("mofa-usage-plotly"));\n'
        "})(window.Plotly);</script>\n"
    )


def _running() -> Mapping[str, Any]:
    """The request that the kernel is working on; empty outside of one."""
    from IPython import get_ipython

    parent = getattr(get_ipython(), "get_parent", None)
    return parent() if parent else {}
