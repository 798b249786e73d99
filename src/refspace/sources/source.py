"""What a source of atlases is asked for, what it gives, and which sources there are."""

import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, TypeAlias

from refspace.conversion import Volume
from refspace.errors import SourceError
from refspace.remote.download import Progress
from refspace.sources.cache import Cache
from refspace.structure_tree import StructureTree

ENTRY_POINTS = "refspace.sources"
"""Group of entry points in which other packages name their sources."""

_BUILT_IN = {
    "abc": "refspace.sources.abc:abc",
    "allen": "refspace.sources.allen:allen",
    "brainglobe": "refspace.sources.brainglobe:brainglobe",
}
# Two signs at least before the colon, for a drive of Windows has one; and no URL.
_SPEC = re.compile(r"([A-Za-z][A-Za-z0-9_-]+):(?!//)(.+)")


@dataclass(frozen=True)
class Request:
    """What a source is asked for.

    Parameters
    ----------
    name
        Of the atlas: what stands after the colon.
    resolution
        µm per voxel, where there are several.
    options
        What this source understands beside, by name.
    cache
        Where downloads go.
    progress
        Called with the name of a file, the bytes that are there, and those in all.
    access
        Arguments ``storage_options``, ``engine`` and ``chunk_cache`` of `refspace.open`, those that
        were given: how a volume that is queried where it is, is read.
    """

    name: str
    resolution: float | Sequence[float] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    cache: Cache = field(default_factory=Cache)
    progress: Progress | None = None
    access: Mapping[str, Any] = field(default_factory=dict)

    def check_options(self, allowed: Collection[str]) -> None:
        """Refuse options that the source does not understand.

        Raises
        ------
        SourceError
            If there are any; the message lists those that it does.

        Examples
        --------
        >>> Request("ccf_2017", options={"hots": "example.org"}).check_options(["host"])
        Traceback (most recent call last):
        ...
        refspace.errors.SourceError: there is no option hots; the source takes host
        """
        if unknown := sorted(self.options.keys() - set(allowed)):
            raise SourceError(
                f"there is no option {', '.join(unknown)}; the source takes "
                f"{', '.join(sorted(allowed)) or 'none'}"
            )


@dataclass(frozen=True)
class AtlasParts:
    """What a source gives: what `refspace.ReferenceSpace` or `refspace.convert` takes.

    Parameters
    ----------
    annotation
        Lazy volume, that can be queried where it is; or path of a file, to be converted.
    structures
        The structures.
    resolution, orientation
        Of the annotation, where it does not state them.
    template
        Intensities on the same grid.
    hemispheres
        Sides on the same grid, 1 left and 2 right.
    midline
        µm along ml; where the middle of the grid does not part the hemispheres.
    ids
        Structure id of each voxel value, where they differ.
    provenance
        Where all this comes from: JSON values by name.
    """

    annotation: Volume
    structures: StructureTree
    resolution: float | Sequence[float] | None = None
    orientation: str | None = None
    template: Volume | None = None
    hemispheres: Volume | None = None
    midline: float | None = None
    ids: Mapping[int, int] | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)


Source: TypeAlias = Callable[[Request], AtlasParts]


def base_url(given: object, variable: str, default: str) -> str:
    """Where a source's files are, without a slash at the end.

    Parameters
    ----------
    given
        By whoever asks; None if by nobody.
    variable
        Environment variable that may name another place.
    default
        The place that counts otherwise.

    Examples
    --------
    >>> base_url(None, "REFSPACE_NOWHERE", "https://example.org/atlases/")
    'https://example.org/atlases'
    """
    return str(given or os.environ.get(variable) or default).rstrip("/")


def source_names() -> list[str]:
    """Names of all sources that there are.

    Examples
    --------
    >>> source_names()[:2]
    ['abc', 'allen']
    """
    return sorted({*_BUILT_IN, *entry_points(group=ENTRY_POINTS).names})


def find_source(name: str) -> Source:
    """The source of a name.

    Raises
    ------
    SourceError
        If there is none, or if it cannot be loaded.

    Examples
    --------
    >>> find_source("allen").__name__
    'allen'
    """
    if name in _BUILT_IN:
        module, _, function = _BUILT_IN[name].partition(":")
        built_in: Source = getattr(import_module(module), function)
        return built_in
    for entry in entry_points(group=ENTRY_POINTS, name=name):
        try:
            source: Source = entry.load()
        except Exception as error:  # whatever another package's import raises
            raise SourceError(
                f"the source {name}, of {entry.value}, cannot be loaded: {error}"
            ) from error
        return source
    raise SourceError(f"there is no source {name}; there are {', '.join(source_names())}")


def looks_like_spec(text: object) -> bool:
    """Whether a text has the form of an atlas by name, of a source that there is or not.

    Examples
    --------
    >>> looks_like_spec("alen:ccf_2017"), looks_like_spec("s3://bucket")
    (True, False)
    """
    return isinstance(text, str) and _SPEC.fullmatch(text) is not None


def parse_spec(text: object) -> tuple[str, str] | None:
    """Source and atlas of a text like ``"allen:ccf_2017"``; None if it is a path or a URL.

    Examples
    --------
    >>> parse_spec("allen:ccf_2017")
    ('allen', 'ccf_2017')
    >>> parse_spec("C:annotation.nrrd"), parse_spec("s3://bucket"), parse_spec("other:atlas")
    (None, None, None)
    """
    match = _SPEC.fullmatch(text) if isinstance(text, str) else None
    if match is None or match[1] not in source_names() or Path(match[0]).exists():
        return None
    return match[1], match[2]
