"""Figures in notebooks: drawn in the theme of their page, also in the page that a notebook is turned into."""

import copy
import json
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import plotly.graph_objects as go
import plotly.io as pio
import polars as pl
import pytest
from nbclient import NotebookClient
from nbconvert import HTMLExporter
from playwright.sync_api import Browser, Page

from mofa_usage import plots, theme
from mofa_usage.plots import picture
from mofa_usage.plots.picture import Picture, embedded
from tests.browser import open_browser

FRAME = pl.DataFrame({"model_name": ["a", "b"], "calls": [5, 9]})
HOSTILE = "</script><script>document.title = 'owned'</script><!--"
CELLS = (
    "import polars as pl\nfrom mofa_usage import plots\n"
    f"frame = pl.DataFrame({{'model_name': ['plain', {HOSTILE!r}], 'calls': [5, 9]}})",
    "plots.draw(frame)",
    "plots.draw(frame, theme='dark')",
    "plots.draw(frame).update_layout(template='plotly_white').show()",
)
PAPER = {name: theme.colors(name)["paper"] for name in theme.THEMES}
BACKGROUNDS = "[...document.querySelectorAll('.js-plotly-plot')].map(e => e._fullLayout.paper_bgcolor)"


@pytest.fixture
def notebook_of(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """As in a kernel's notebook: a call says which cell is running; the renderers are those of a kernel."""
    message: dict[str, Any] = {}
    monkeypatch.setattr(picture, "_running", lambda: message)
    monkeypatch.setattr(picture, "_holder", picture._Holder())

    def run(cell: str, number: int, deleted: tuple[str, ...] = ()) -> None:
        message.update(header={"msg_id": str(number)}, metadata={"cellId": cell, "deletedCells": list(deleted)})

    before = pio.renderers.default
    pio.renderers.default = "plotly_mimetype"
    yield run
    pio.renderers.default = before


def page_part(figure: Any) -> str:
    bundle = figure._repr_mimebundle_()
    assert set(bundle) == {"text/html", "text/plain"}
    return str(bundle["text/html"])


def holds_library(figure: Any) -> bool:
    return len(page_part(figure)) > 1_000_000


# A figure like any other


def test_a_picture_is_a_plotly_figure_in_all_else(tmp_path: Path) -> None:
    figure = plots.draw(FRAME)
    assert isinstance(figure, Picture)
    assert isinstance(figure, go.Figure)
    for same in (copy.deepcopy(figure), pickle.loads(pickle.dumps(figure)), go.Figure(figure)):
        assert same == figure
        assert json.loads(same.to_json()) == json.loads(figure.to_json())  # but for the order of its parts
    assert isinstance(pickle.loads(pickle.dumps(figure)), Picture)
    assert figure.update_layout(width=500) is figure
    assert "<svg" in figure.to_html() or "plotly" in figure.to_html(include_plotlyjs=False)
    figure.write_html(tmp_path / "figure.html", include_plotlyjs=False)
    assert (tmp_path / "figure.html").stat().st_size < 100_000


def test_outside_of_notebooks_and_where_a_renderer_was_chosen_plotly_decides(notebook_of: Any) -> None:
    notebook_of("first", 1)
    figure = plots.draw(FRAME)
    pio.renderers.default = "json"
    assert set(figure._repr_mimebundle_()) == {"application/json"}
    pio.renderers.default = "notebook_connected"
    assert figure._repr_mimebundle_() != go.Figure(figure)._repr_mimebundle_()  # but for the id of its place
    pio.renderers.default = "colab"
    assert "mofa-usage" not in figure._repr_mimebundle_()["text/html"]


# What a notebook keeps


def test_the_first_figure_holds_the_library_and_whoever_loses_it_gets_it_again(notebook_of: Any) -> None:
    figure = plots.draw(FRAME)
    runs = [("first", 1, ()), ("second", 2, ()), ("first", 3, ()), ("second", 4, ()), ("third", 5, ("first",))]
    held = []
    for run in runs:
        notebook_of(*run)
        held.append([holds_library(figure), holds_library(figure)])
    assert held == [[True, False], [False, False], [True, False], [False, False], [True, False]]
    assert pio.renderers.default == "plotly_mimetype"


def test_a_figure_follows_unless_its_theme_was_chosen_or_changed(notebook_of: Any) -> None:
    notebook_of("first", 1)
    figure = plots.draw(FRAME)
    page_part(figure)
    assert "mofa_usage" not in pio.templates.default

    def templates(figure: Any) -> Any:
        found = re.search(r'\)\("mofa-usage-\w+", (.*)\);</script>$', page_part(figure))
        assert found is not None
        return json.loads(f"[{found[1]}]")[1]

    assert {name: found["layout"]["paper_bgcolor"] for name, found in templates(figure).items()} == PAPER
    assert templates(pickle.loads(pickle.dumps(figure))).keys() == {"light", "dark"}
    assert templates(plots.draw(FRAME, theme="light")) is None
    assert templates(plots.draw(FRAME, theme="dark")) is None
    assert templates(copy.deepcopy(figure).update_layout(template="plotly_white")) is None
    assert templates(copy.deepcopy(figure).update_layout(template_layout_font_size=20)) is None
    assert templates(figure.update_layout(font_size=20)).keys() == {"light", "dark"}


def test_where_scripts_do_not_run_words_say_what_would_be_shown(notebook_of: Any) -> None:
    notebook_of("first", 1)
    figure = plots.draw(FRAME).update_layout(title_text="Costs &lt;of&gt; <b>us</b>")
    words = re.search(r"<div .*?>(.*?)</div>", page_part(figure))
    assert words is not None
    assert words[1].startswith("Costs &lt;of&gt;  us : a figure that is drawn where scripts run")
    assert figure._repr_mimebundle_()["text/plain"] == "Figure: Costs <of>  us "


def test_embedded_json_cannot_leave_its_script() -> None:
    assert embedded({"a": "</script><!--&"}) == '{"a":"\\u003c/script\\u003e\\u003c!--\\u0026"}'


# In a real kernel and a real browser


@pytest.fixture(scope="module")
def executed() -> Any:
    notebook: Any = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])  # type: ignore[no-untyped-call]
    return NotebookClient(notebook, timeout=110, kernel_name="python3").execute()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


def page_of(notebook: Any, folder: Path, browser: Browser, **options: Any) -> Page:
    html, _ = HTMLExporter(**options).from_notebook_node(notebook)  # type: ignore[no-untyped-call]
    (folder / "notebook.html").write_text(html)
    page = browser.new_page()
    page.route(re.compile("^https?://"), lambda route: route.abort())  # nothing is fetched
    page.goto((folder / "notebook.html").as_uri(), wait_until="load")
    page.wait_for_function("document.querySelectorAll('.js-plotly-plot').length === 3")
    return page


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("options", "look"),
    [
        ({"template_name": "lab"}, "light"),
        ({"template_name": "lab", "theme": "dark"}, "dark"),
        ({"template_name": "classic"}, "light"),
    ],
    ids=["lab", "dark", "classic"],
)
def test_a_notebook_turned_into_a_page_has_its_figures(
    options: dict[str, Any], look: theme.Theme, executed: Any, tmp_path: Path, browser: Browser
) -> None:
    page = page_of(executed, tmp_path, browser, **options)
    assert page.evaluate(BACKGROUNDS) == [PAPER[look], PAPER["dark"], "white"]
    assert page.title() != "owned"
    drawn = page.locator(".js-plotly-plot").first
    assert drawn.locator(".barlayer .point").count() == 2
    assert "plain" in drawn.inner_text()
    page.close()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_figure_turns_dark_and_light_with_its_page(executed: Any, tmp_path: Path, browser: Browser) -> None:
    page = page_of(executed, tmp_path, browser, template_name="lab")

    def becomes(look: theme.Theme) -> None:
        page.wait_for_function(f"{BACKGROUNDS}[0] === '{PAPER[look]}'")
        assert page.evaluate(BACKGROUNDS)[1:] == [PAPER["dark"], "white"]

    # JupyterLab hides what it shows while its theme changes.
    for light in ("false", "true", "false"):
        page.evaluate(
            "light => { const shown = document.querySelector('main').style; shown.display = 'none';"
            "document.body.dataset.jpThemeLight = light; setTimeout(() => shown.display = '', 20); }",
            light,
        )
        becomes("light" if light == "true" else "dark")
    page.evaluate("delete document.body.dataset.jpThemeLight; document.body.className = 'vscode-light'")
    becomes("light")
    page.evaluate("document.body.className = 'vscode-dark'")
    becomes("dark")
    # A page that says nothing is what it looks like, or else what the reader prefers.
    page.evaluate("document.body.className = ''; document.body.style.background = 'white'")
    page.evaluate("document.body.className = 'any'")
    becomes("light")
    page.add_style_tag(content="* { background-color: transparent !important }")
    page.emulate_media(color_scheme="dark")
    becomes("dark")
    page.emulate_media(color_scheme="light")
    becomes("light")
    page.set_viewport_size({"width": 500, "height": 800})
    page.wait_for_function("document.querySelector('.js-plotly-plot')._fullLayout.width < 500")
    page.close()
