"""Packages whose names are imported when they are first used."""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_names(
    package: str, modules: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Functions ``__getattr__`` and ``__dir__`` of a package that gathers names of its modules.

    So a command that needs one of the modules does not wait for the libraries of the others.

    Parameters
    ----------
    package
        Name of the package.
    modules
        Name of the module that each of its names is from.

    Examples
    --------
    >>> get, names = lazy_names("refspace.labels", {"Midline": "refspace.labels.midline"})
    >>> get("Midline").__module__, names()
    ('refspace.labels.midline', ['Midline'])
    """

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(modules[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    return get, lambda: [*modules]
