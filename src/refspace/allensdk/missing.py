"""What AllenSDK has and this package has not: modules and methods, and the error that says so."""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, ClassVar, NoReturn

from refspace.errors import MissingDependencyError, NotInRefspaceError

VERSION = "2.16.2"
"""Version of AllenSDK whose names these are."""

MODULES = (
    "api.api",
    "api.queries.mouse_connectivity_api",
    "api.queries.ontologies_api",
    "api.queries.reference_space_api",
    "api.queries.rma_api",
    "config.manifest",
    "core.mouse_connectivity_cache",
    "core.reference_space",
    "core.reference_space_cache",
    "core.simple_tree",
    "core.structure_tree",
)
"""Modules that scripts import."""

_OWN_MODULES = ("missing", "volumes")

# AllenSDK pins versions that are too old for refspace: NumPy below 1.24, xarray below 2023.2.
REMEDY = (
    f"it takes AllenSDK itself (pip install allensdk=={VERSION}) in an environment of its own, of "
    "Python 3.8 to 3.11: both do not fit in one"
)

_PACKAGE = __name__.rpartition(".")[0]


class _MissingModules(MetaPathFinder):
    """The last finder, which is asked for modules of this package that no other has found."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        name = fullname.removeprefix(f"{_PACKAGE}.")
        if name == fullname or _is_ours(name):
            return None
        raise MissingDependencyError(
            f"{_PACKAGE} has no module {name}; it has {', '.join(MODULES)}. If AllenSDK has "
            f"{name}, {REMEDY}"
        )


def _is_ours(name: str) -> bool:
    """Whether a module may be of this package: some ask all finders for modules that are there."""
    # Python looks for `__main__`, and others for names of their own.
    if name.rpartition(".")[2].startswith("_"):
        return True
    return any(f"{module}.".startswith(f"{name}.") for module in (*MODULES, *_OWN_MODULES))


def refuse_missing_modules() -> None:
    """Have imports of AllenSDK's other modules say what they take."""
    if not any(isinstance(finder, _MissingModules) for finder in sys.meta_path):
        sys.meta_path.append(_MissingModules())


class AllenSDKClass:
    """Base of classes that have a part of the attributes of AllenSDK's.

    The others, which a class names in ``only_in_allensdk``, raise `NotInRefspaceError`, an
    `AttributeError`.
    """

    only_in_allensdk: ClassVar[str] = ""
    """Names of its public attributes, separated by blanks."""

    def __getattr__(self, name: str) -> NoReturn:
        what = f"{type(self).__name__}.{name}"
        bases = (base for base in type(self).__mro__ if issubclass(base, AllenSDKClass))
        if any(name in base.only_in_allensdk.split() for base in bases):
            raise NotInRefspaceError(
                f"{what} is not in refspace, which has what concerns reference spaces: "
                f"{', '.join(_methods(type(self)))}. {REMEDY[0].upper()}{REMEDY[1:]}"
            )
        raise AttributeError(f"there is no {what}", name=name, obj=self)


def _methods(cls: type[Any]) -> list[str]:
    """Public methods of a class, and of those below it."""
    return [name for name in dir(cls) if not name.startswith("_") and callable(getattr(cls, name))]
