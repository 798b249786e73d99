"""What lazy voxels are made from: whether a job that goes on later would read the same ones.

The name of a dask array tells its computation from others, but not always its sources: that of an
array of zarr, for one, is made of a URL and metadata, and stays the same when voxels are written
anew. So a job looks for the sources in the graph of an array, and identifies each by its content.

Sources that can be identified are arrays in memory; stores and files that refspace opened, which
identify themselves (`Identified`). Whatever else is in a graph may read anything: it is a doubt,
and a job does not go on from voxels that are in doubt.
"""

import pickle
import re
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import dask.array
import numpy as np
from dask.tokenize import tokenize
from numpy.typing import NDArray

from refspace.blockwise.content_identity import Identified, Identity
from refspace.errors import StoreError

_GIVE_A_PATH = (
    "give the path or URL of a store or file, or an array in memory, for voxels that can be told "
    "from others"
)
# Packages whose functions compute and do not read, but for these parts of them.
_COMPUTING = {"builtins", "operator", "_operator", "functools", "itertools", "math", "copyreg"}
_COMPUTING |= {"fractions", "decimal", "collections", "datetime", "enum", "types"}
_COMPUTING |= {"toolz", "tlz", "cytoolz", "numpy", "dask", "xarray", "scipy", "refspace"}
_READING = ("dask.bytes", "dask.dataframe", "dask.bag", "xarray.backends", "scipy.io")
_READERS = {"open", "eval", "exec", "compile", "load", "fromfile", "memmap", "open_memmap"}
_READERS |= {"loadtxt", "genfromtxt", "fromregex"}
# Names that dask and refspace make end with a digest of all that an array is computed from.
_TOKEN = re.compile(r"[0-9a-f]{32,64}")


def array_identity(data: dask.array.Array | NDArray[Any]) -> Identity:
    """Identify the voxels of a lazy array by what they are computed from, as that is now.

    Parameters
    ----------
    data
        A dask array, or one of NumPy.

    Returns
    -------
    Identity
        In doubt, if the graph holds anything that may read something unknown.

    Examples
    --------
    >>> data = dask.array.from_array(np.array([997, 8]), chunks=1)
    >>> array_identity(data).is_proven, array_identity(data) == array_identity(data + 1)
    (True, False)
    >>> array_identity(data.map_blocks(lambda block: block)).doubt.partition(";")[0]
    "it calls '<lambda>' of refspace.blockwise.identity, which may read anything"
    """
    if not isinstance(data, dask.array.Array):
        return Identity({"voxels": str(tokenize(np.asarray(data).view(np.ndarray)))})
    found = _Found()
    names = _layer_names(data)
    if unnamed := sorted(name for name in names if not _TOKEN.fullmatch(name.rpartition("-")[2])):
        found.doubts.append(f"it is computed from {unnamed[0]!r}, a name that says nothing of it")
    _look_into(data.dask, found)
    own = [source.content_identity() for source in found.sources.values()]
    doubts = [*found.doubts, *filter(None, (each.doubt for each in own))]
    if doubts:
        return Identity({"unproven": doubts[0]}, f"{doubts[0]}; {_GIVE_A_PATH}")
    # Of an array that is mapped into memory, dask would take the name and time of its file.
    arrays = {str(tokenize(array.view(np.ndarray))) for array in found.arrays.values()}
    facts = sorted({str(tokenize(dict(each.facts))) for each in own} | arrays)
    return Identity({"voxels": str(tokenize(data.name, facts))})


def is_computed_in_memory(data: dask.array.Array) -> bool:
    """Whether a lazy array is computed from arrays in memory and formulas, and reads nothing.

    Examples
    --------
    >>> data = dask.array.from_array(np.array([997, 8]), chunks=1)
    >>> is_computed_in_memory(data + 1), is_computed_in_memory(data.map_blocks(lambda block: block))
    (True, False)
    """
    found = _Found()
    _look_into(data.dask, found)
    return not found.doubts and not found.sources


def first_doubt(identities: Mapping[str, Identity]) -> str | None:
    """Why some voxels, by what they are, cannot be told from others; None if all can.

    Examples
    --------
    >>> first_doubt({"annotation": Identity({}), "template": Identity({}, "its server is silent")})
    'of the template: its server is silent'
    """
    doubts = (f"of the {name}: {own.doubt}" for name, own in identities.items() if own.doubt)
    return next(doubts, None)


def refuse_changed(before: Mapping[str, Identity], now: Mapping[str, Identity]) -> None:
    """Refuse voxels that have changed while they were read.

    Raises
    ------
    StoreError
        If the identity of any differs from what it was before.
    """
    changed = [name for name, identity in before.items() if now[name] != identity]
    if changed:
        raise StoreError(
            f"the {changed[0]} has changed while it was read, so that nothing is written; run the "
            "same again once it stays as it is"
        )


def _layer_names(data: Any) -> Iterable[str]:
    """Names of all arrays that an array is computed from, itself among them."""
    layers = getattr(data.dask, "layers", None)
    if layers is not None:
        return map(str, layers)
    # With array expressions a graph has tasks alone.
    return {str(key[0] if isinstance(key, tuple) else key) for key in data.dask}


# ----- looking into graphs


@dataclass
class _Found:
    """What a graph holds: sources that identify themselves, arrays in memory, and doubts."""

    sources: dict[int, Identified] = field(default_factory=dict)
    arrays: dict[int, NDArray[Any]] = field(default_factory=dict)
    doubts: list[str] = field(default_factory=list)


class _Nowhere:
    """A file that keeps nothing."""

    def write(self, data: Any) -> int:
        return len(data)


class _Finder(pickle.Pickler):
    """Visits all that a graph refers to, as far as it is known to compute only.

    Pickling reaches everything that tasks could use on a worker. Nothing of it is kept.
    """

    def __init__(self, found: _Found) -> None:
        super().__init__(_Nowhere(), protocol=5)
        self._found = found

    def reducer_override(self, obj: Any) -> Any:
        """Note an object that is a source or a doubt, and visit nothing below it."""
        # Of the class: objects of dask have whatever attribute they are asked for.
        if callable(getattr(type(obj), "content_identity", None)):
            self._found.sources[id(obj)] = obj
        elif isinstance(obj, np.ndarray):
            self._found.arrays[id(obj)] = obj
        elif isinstance(obj, np.generic | np.dtype | np.ufunc | types.ModuleType):
            pass
        elif isinstance(obj, type | types.FunctionType | types.BuiltinFunctionType):
            return self._visit_function(obj)
        elif not _computes(type(obj)):
            kind = type(obj)
            self._found.doubts.append(f"it holds a {kind.__module__}.{kind.__qualname__}")
        else:
            return NotImplemented  # as pickle does it, which visits what it holds
        return int, ()

    def _visit_function(self, obj: Any) -> Any:
        if not _computes(obj):
            self._found.doubts.append(
                f"it calls {obj.__name__!r} of {obj.__module__}, which may read anything"
            )
        return (int, ()) if obj is not int else NotImplemented


def _computes(obj: Any) -> bool:
    """Whether a function or class is of a package that computes, and none that reads."""
    module = str(obj.__module__ or "builtins")
    inside = [module.split(".")[0] in _COMPUTING, not module.startswith(_READING)]
    inside += [obj.__name__ not in _READERS, "<lambda>" not in obj.__qualname__]
    return all(inside)


def _look_into(graph: Any, found: _Found) -> None:
    try:
        _Finder(found).dump(graph)
    except Exception as error:  # whatever an object raises that cannot be pickled
        found.doubts.append(f"it cannot be looked into: {type(error).__name__}: {error}")
