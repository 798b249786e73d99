"""The interface of sources of atlases: requests, the parts of an atlas, and the list of sources."""

import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Union

from refspace.errors import SourceError
from refspace.remote.download import Progress
from refspace.safe_text import without_secrets
from refspace.sources.cache import Cache
from refspace.types import Resolution

if TYPE_CHECKING:
    from refspace.conversion import Volume
    from refspace.labels.knowledge import BlockKnowledge
    from refspace.structure_tree import StructureTree

ENTRY_POINTS = "refspace.sources"
"""Group of entry points in which other packages name their sources."""
LISTINGS = "refspace.listings"
"""Group of entry points in which they name the lists of what their sources have."""

# By name, so that a source is imported when it is used: none needs the packages of another.
_BUILT_IN = {
    "abc": "refspace.sources.abc:abc",
    "allen": "refspace.sources.allen:allen",
    "brainglobe": "refspace.sources.brainglobe:brainglobe",
}
_BUILT_IN_LISTINGS = {
    "abc": "refspace.sources.ccf:list_abc",
    "allen": "refspace.sources.ccf:list_allen",
    "brainglobe": "refspace.sources.brainglobe_list:list_brainglobe",
}
_DESCRIPTIONS = {
    "abc": "Allen CCF of 2020, of the Allen Brain Cell Atlas",
    "allen": "Allen mouse CCF of 2015, 2016 and 2017, of the Allen Institute",
    "brainglobe": "Atlases of many animals, in the bucket of BrainGlobe or a folder",
}
# At least two letters before the colon, because a drive of Windows has one; and no URL.
_SPEC = re.compile(r"([A-Za-z][A-Za-z0-9_-]+):(?!//)(.+)")


@dataclass(frozen=True)
class Request:
    """A request to a source for one of its atlases.

    Parameters
    ----------
    name
        Name of the atlas, the part after the colon.
    resolution
        µm per voxel, where there are several.
    options
        Further options of the source, by name.
    cache
        Cache for downloads.
    progress
        Called with the name of a file, its bytes so far, and its bytes in all.
    access
        Arguments ``storage_options``, ``engine`` and ``chunk_cache`` of `refspace.open`, as far as
        the caller set them, for volumes that are read from where they are.
    """

    name: str
    resolution: Resolution | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    cache: Cache = field(default_factory=Cache)
    progress: Progress | None = None
    # They may hold keys, which must not stand in a log.
    access: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def check_options(self, allowed: Collection[str]) -> None:
        """Refuse options that the source does not have.

        Raises
        ------
        SourceError
            If there is one; the message lists the options of the source.

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
    """The parts of an atlas, as arguments of `refspace.ReferenceSpace` or `refspace.convert`.

    Parameters
    ----------
    annotation
        Lazy volume, which is queried where it is; or path of a file, which is converted.
    structures
        The structures.
    resolution, orientation
        Those of the annotation, where it does not state them.
    template
        Intensities on the same grid.
    hemispheres
        Hemisphere of each voxel on the same grid, 1 left and 2 right.
    midline
        Position of the midline in µm along ml, where it is not the middle of the grid.
    ids
        Structure id of each voxel value, where they differ.
    blocks
        What is known of the blocks of a lazy annotation without reading them.
    provenance
        Origin of the parts: JSON values by name.
    """

    annotation: "Volume"
    structures: "StructureTree"
    resolution: Resolution | None = None
    orientation: str | None = None
    template: Union["Volume", None] = None
    hemispheres: Union["Volume", None] = None
    midline: float | None = None
    ids: Mapping[int, int] | None = None
    blocks: "BlockKnowledge | None" = None
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class AtlasEntry:
    """An atlas in the list of a source: one version at one resolution.

    Parameters
    ----------
    name
        Name of the atlas.
    version
        Its version, where the source has versions.
    resolution
        µm per voxel: one number, or three along the axes of the array; None where that is not
        known before the atlas is opened.
    species
        Where it is known.
    asked
        Name by which this version alone is asked for, like ``"allen_mouse_25um@1.2"``, where the
        name alone stands for the newest.
    path
        Where the atlas is, if that is on this machine.
    """

    name: str
    version: str | None = None
    resolution: Resolution | None = None
    species: str | None = None
    asked: str | None = None
    path: str | None = None


Source: TypeAlias = Callable[[Request], AtlasParts]
Listing: TypeAlias = Callable[[Request], Iterable[AtlasEntry]]
"""A list of what a source has, for a request without a name; versions of an atlas newest first."""


def base_url(option: object, variable: str, default: str) -> str:
    """URL of the folder of a source's files, without a slash at the end.

    Parameters
    ----------
    option
        URL that the caller chose; None for no choice.
    variable
        Environment variable that may hold another URL.
    default
        URL without either.

    Raises
    ------
    SourceError
        If the URL holds what may be a secret.

    Examples
    --------
    >>> base_url(None, "REFSPACE_NOWHERE", "https://example.org/atlases/")
    'https://example.org/atlases'
    """
    url = str(option or os.environ.get(variable) or default).rstrip("/")
    if without_secrets(url) != url:
        raise SourceError(
            f"the URL of {url} holds a user's name or password, or a query, which the records of "
            "what comes from there would keep; leave it out, and give storage_options= where the "
            "source takes them"
        )
    return url


def source_names() -> list[str]:
    """Names of all sources, built in and of other packages.

    Examples
    --------
    >>> source_names()[:2]
    ['abc', 'allen']
    """
    return sorted({*_BUILT_IN, *entry_points(group=ENTRY_POINTS).names})


def describe_source(name: str) -> str:
    """What a source is, in words: of another package, which one that is.

    Examples
    --------
    >>> describe_source("abc")
    'Allen CCF of 2020, of the Allen Brain Cell Atlas'
    """
    if name in _DESCRIPTIONS:
        return _DESCRIPTIONS[name]
    entry = next(iter(entry_points(group=ENTRY_POINTS, name=name)), None)
    return (
        "" if entry is None else f"of the package {entry.dist.name if entry.dist else entry.module}"
    )


def find_source(name: str) -> Source:
    """Find a source by its name.

    Raises
    ------
    SourceError
        If there is no such source, or it cannot be loaded.

    Examples
    --------
    >>> find_source("allen").__name__
    'allen'
    """
    source: Source | None = _load(name, _BUILT_IN, ENTRY_POINTS)
    if source is None:
        raise _unknown_source(name)
    return source


def find_listing(name: str) -> Listing | None:
    """Find the list of what a source has, by the name of the source; None where it has none.

    Raises
    ------
    SourceError
        If there is no such source, or its list cannot be loaded.

    Examples
    --------
    >>> [entry.name for entry in find_listing("abc")(Request(""))]
    ['ccf_2020']
    """
    if name not in source_names():
        raise _unknown_source(name)
    listing: Listing | None = _load(name, _BUILT_IN_LISTINGS, LISTINGS)
    return listing


def _load(name: str, built_in: Mapping[str, str], group: str) -> Any:
    """Load what has a name, built in or of another package; None if there is no such name."""
    if name in built_in:
        module, _, function = built_in[name].partition(":")
        return getattr(import_module(module), function)
    for entry in entry_points(group=group, name=name):
        try:
            return entry.load()
        except Exception as error:  # whatever another package's import raises
            raise SourceError(
                f"the source {name}, of {entry.value}, cannot be loaded: {error}"
            ) from error
    return None


def _unknown_source(name: str) -> SourceError:
    return SourceError(f"there is no source {name}; there are {', '.join(source_names())}")


def looks_like_spec(text: object) -> bool:
    """Whether a text has the form ``source:atlas``, even if there is no such source.

    Examples
    --------
    >>> looks_like_spec("alen:ccf_2017"), looks_like_spec("s3://bucket")
    (True, False)
    """
    return isinstance(text, str) and _SPEC.fullmatch(text) is not None


def parse_spec(text: object) -> tuple[str, str] | None:
    """Split a text like ``"allen:ccf_2017"`` into source and atlas; None if it is a path or URL.

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
