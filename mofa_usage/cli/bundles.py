"""Options that several commands share, written once.

A bundle is a frozen dataclass whose fields are options, annotated as Typer wants it. A command takes bundles as it
takes any argument, `def summary(calls: Calls, by: By = None)`, and `unbundled` makes of it what Typer is given: a
function that has the options of `Calls` in their place, behind `--by`.
"""

import inspect
from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from functools import wraps
from typing import Any, get_type_hints

__all__ = ["Bundle", "unbundled"]


class Bundle:
    """The base of all bundles."""


def unbundled(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the options of its bundles as parameters of their own, behind those that it has itself."""
    hints = get_type_hints(command, include_extras=True)
    bundles = {name: hint for name, hint in hints.items() if isinstance(hint, type) and issubclass(hint, Bundle)}

    @wraps(command)
    def run(**given: Any) -> None:
        for name, bundle in bundles.items():
            given[name] = bundle(**{option.name: given.pop(option.name) for option in _options(bundle)})
        command(**given)

    own = [one for name, one in inspect.signature(command).parameters.items() if name not in bundles]
    options = [_parameter(option, bundle) for bundle in bundles.values() for option in _options(bundle)]
    parameters = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in (*own, *options)]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return run


def _options(bundle: type[Bundle]) -> "tuple[Field[Any], ...]":
    return fields(bundle)  # type: ignore[arg-type]  # every bundle is a dataclass


def _parameter(option: "Field[Any]", bundle: type[Bundle]) -> inspect.Parameter:
    default = inspect.Parameter.empty if option.default is MISSING else option.default
    annotation = get_type_hints(bundle, include_extras=True)[option.name]
    return inspect.Parameter(option.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
