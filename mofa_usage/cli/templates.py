"""The notebooks that come with the package, and copies of them for one's own database.

They are edited in `notebooks/` of the repository and ship inside the package. The first code cell, tagged `parameters`
as papermill wants it, holds one assignment a line; a copy differs from its template in the values there and in nothing
else.
"""

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

from mofa_usage.cli.periods import period
from mofa_usage.errors import UsageError
from mofa_usage.urls import backend_of, holds_password, parse_url
from mofa_usage.zones import zone

__all__ = ["names", "template_path", "times", "title", "write_notebook"]


def _folder() -> Path:
    """Where the templates are: in the installed package, or in the repository beside an editable one."""
    package = Path(__file__).parents[1]
    installed = package / "notebooks"
    return installed if installed.is_dir() else package.parent / "notebooks"


def names() -> list[str]:
    """The names of the notebooks, in reading order."""
    return sorted(path.stem for path in _folder().glob("*.ipynb"))


def template_path(name: str) -> Path:
    """The file of the notebook `name` (with or without `.ipynb`).

    Raises:
        UsageError: there is no notebook of that name.
    """
    stem = name.removesuffix(".ipynb")
    if stem not in names():
        raise UsageError(f"there is no notebook {name!r}; there are: {', '.join(names())}")
    return _folder() / f"{stem}.ipynb"


def title(name: str) -> str:
    """The notebook's heading."""
    notebook = json.loads(template_path(name).read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        for line in "".join(cell["source"]).splitlines():
            if cell["cell_type"] == "markdown" and line.startswith("# "):
                return line.removeprefix("# ").strip()
    return ""


def times(start: str | None, end: str | None, tz: str) -> dict[str, str | None]:
    """The period of a notebook, as ISO 8601 text: what was written so stays, `7d` and `2026-05` become times.

    Raises:
        UsageError: there is no such zone, one is no time, or the end lies before the start.
    """
    moments = dict(zip(("start", "end"), period(start, end, zone(tz)), strict=True))
    written = {"start": start, "end": end}
    return {
        name: None if moment is None else written[name] if _is_iso(written[name]) else moment.isoformat()
        for name, moment in moments.items()
    }


def _is_iso(text: str | None) -> bool:
    try:
        datetime.fromisoformat(text or "")
    except ValueError:
        return False
    return True


def write_notebook(
    name: str,
    path: Path,
    *,
    url: str | None = None,
    start: str | None = None,
    end: str | None = None,
    tz: str = "UTC",
) -> None:
    """Write a copy of the notebook `name` to `path`, with these parameters set.

    Args:
        url: a database URL or a Parquet file; None for made-up usage. A relative path is made absolute, so that the
            notebook can be moved. A URL with a password is not written down: the copy reads DATABASE_URL instead.
        start, end: ISO 8601, half-open, in the zone `tz`.

    Raises:
        UsageError: there is no notebook of that name, it has no such parameter, or `path` cannot be written.
    """
    notebook = json.loads(template_path(name).read_text(encoding="utf-8"))
    cell = _parameters(notebook)
    values = {"start": _literal(start), "end": _literal(end), "tz": _literal(tz)}
    source = "".join(cell["source"])
    if url is not None and holds_password(url):
        values["url"] = 'os.environ["DATABASE_URL"]'
        source = f"import os\n\n{source}"
    elif url is not None:
        values["url"] = _literal(_absolute(url))
    for parameter, value in values.items():
        source, found = re.subn(
            rf"^{parameter} = [^#\n]*?(?=\s*(#|$))",
            lambda _, parameter=parameter, value=value: f"{parameter} = {value}",  # type: ignore[misc]
            source,
            count=1,
            flags=re.MULTILINE,
        )
        if not found and value != _literal(None):
            raise UsageError(f"the notebook {name} has no parameter {parameter}")
    cell["source"] = source.splitlines(keepends=True)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror or error}") from error


def _literal(value: str | None) -> str:
    return "None" if value is None else json.dumps(value)  # JSON's text is Python's


def _parameters(notebook: dict[str, Any]) -> dict[str, Any]:
    for cell in notebook["cells"]:
        if "parameters" in cell["metadata"].get("tags", ()):
            found: dict[str, Any] = cell
            return found
    raise ValueError("the notebook has no cell tagged 'parameters'")


def _absolute(url: str) -> str:
    """`url` with the path of a local file made absolute; other URLs as they are."""
    backend = backend_of(url)
    if backend == "sqlite":
        path = parse_url(url).located().url.database
        return f"sqlite:{path}"
    return url if backend or "://" in url else str(Path(url).absolute())
