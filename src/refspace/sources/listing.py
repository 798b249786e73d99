"""The list of atlases: what sources have, and what is on this machine already."""

import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refspace.errors import RefspaceError, RemoteError, SourceError
from refspace.grid import parse_spacing
from refspace.safe_text import without_secrets, without_values
from refspace.sources.cache import Cache
from refspace.sources.locating import ATLAS_KEY, locate
from refspace.sources.source import (
    AtlasEntry,
    Request,
    describe_source,
    find_listing,
    source_names,
)
from refspace.store import open_atlas
from refspace.types import PathLike, Resolution

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("source", "name", "version", "resolution", "species", "spec", "here")


def atlases(
    source: str | None = None,
    *,
    here: bool = False,
    cache: Cache | PathLike | None = None,
    **options: Any,
) -> "pd.DataFrame":
    """List the atlases that sources have, and those that are on this machine already.

    Parameters
    ----------
    source
        Name of a source, like ``"brainglobe"``; all of them if not given.
    here
        Whether to list only what is on this machine; nothing is asked of any host then.
    cache
        Folder of the cache; by default the one that the environment variable ``REFSPACE_CACHE``
        names, or else the user's.
    **options
        Options of the source. ``brainglobe``: ``base``, path or URL of the folder of all atlases;
        and ``storage_options``, as for `open`.

    Returns
    -------
    DataFrame
        A row for each atlas at each resolution, in the order of names, the newest version first;
        other versions too where a source lists them, or one is here. Columns:

        - ``source`` and ``name``;
        - ``version``, missing where a source has none beside the names;
        - ``resolution`` in µm per voxel, one number or three along the axes of the array. For
          BrainGlobe's bucket it is that along the first axis, as the name of the atlas states it;
        - ``species``, missing where it is not known before the atlas is opened;
        - ``spec``, what `open` and `fetch` take, with the options given here: source and atlas, and
          for a store that was made with other options the path of the store;
        - ``here``, path of what needs no network: a store in the cache, or the folder of an atlas;
          missing for all others.

    Warns
    -----
    UserWarning
        If a source cannot be reached, with the reason: of its atlases, those that are here are
        listed. A bucket is asked for its list with one request, and nothing is opened.

    Raises
    ------
    SourceError
        If there is no such source or option.
    FormatError
        If what the source sends is no list.

    Examples
    --------
    >>> table = atlases("allen")
    >>> table[table["resolution"] == 25]["spec"].tolist()
    ['allen:ccf_2015', 'allen:ccf_2016', 'allen:ccf_2017']
    """
    import pandas as pd

    rows = atlas_rows(source, here=here, cache=cache, **options)
    return pd.DataFrame({column: [row[column] for row in rows] for column in COLUMNS}, dtype=object)


def atlas_rows(
    source: str | None = None,
    *,
    here: bool = False,
    cache: Cache | PathLike | None = None,
    **options: Any,
) -> list[dict[str, Any]]:
    """Rows of the table of `atlases`, without a library of tables.

    Parameters
    ----------
    source, here, cache, **options
        As for `atlases`.

    Examples
    --------
    >>> [row["spec"] for row in atlas_rows("abc")]
    ['abc:ccf_2020']
    """
    if source is None and options:
        raise SourceError(f"options are of one source: name that of {', '.join(sorted(options))}")
    folder = Cache(cache.root if isinstance(cache, Cache) else cache)
    names, problems = [source] if source is not None else source_names(), []
    rows = []
    for name in names:
        stores = _stores(name, folder, options)
        asks = not here or "base" in options
        if not asks and name not in source_names():
            find_listing(name)  # which refuses it
        is_asked = source is not None
        entries, problem = (
            _entries(name, folder, options, is_asked=is_asked) if asks else ([], None)
        )
        rows += _rows(name, entries, stores)
        problems += [problem] if problem else []
    for problem in problems:
        warnings.warn(problem, stacklevel=3)
    return [row for row in rows if row["here"] is not None or not here]


def source_rows() -> list[dict[str, str]]:
    """Sources and what they are, in words.

    Examples
    --------
    >>> [row["source"] for row in source_rows()][:2]
    ['abc', 'allen']
    """
    return [{"source": name, "description": describe_source(name)} for name in source_names()]


def _rows(source: str, entries: list[AtlasEntry], stores: "list[_Store]") -> list[dict[str, Any]]:
    """Rows of a source: of its list, and of stores of which the list has nothing."""
    rows, seen = [], set()
    for entry in entries:
        is_newest = (entry.name, entry.resolution) not in seen
        seen.add((entry.name, entry.resolution))
        matching = [store for store in stores if store.is_of(entry)]
        rows.append(_row(source, entry, matching, _spec(source, entry, stores, is_newest)))
    others = [each for each in stores if not any(map(each.is_of, entries))]
    rows += [_row(source, each.entry, [each], each.spec) for each in others]
    # By name: stores of which the list has nothing come after those that it has.
    return sorted(rows, key=lambda row: str(row["name"]))


def _row(source: str, entry: AtlasEntry, stores: "list[_Store]", spec: str) -> dict[str, Any]:
    row = {
        "source": source,
        "name": entry.name,
        "version": entry.version,
        "resolution": entry.resolution,
        "species": entry.species,
        "spec": spec,
        "here": entry.path,
    }
    if entry.path is None and stores:
        store = stores[0]
        # A store knows what the name of an atlas does not say.
        row["resolution"], row["species"] = (
            store.entry.resolution,
            row["species"] or store.entry.species,
        )
        row["spec"], row["here"] = store.spec, str(store.path)
    return row


def _spec(source: str, entry: AtlasEntry, stores: "list[_Store]", is_newest: bool) -> str:
    """Text by which an atlas that is not in the cache is opened."""
    plain = f"{source}:{entry.name}"
    # Opening the plain name opens the store of that name, whichever version it has.
    is_taken = any(store.spec == plain and not store.is_of(entry) for store in stores)
    is_plain = is_newest and not (is_taken and entry.version is not None)
    return plain if is_plain or entry.asked is None else f"{source}:{entry.asked}"


def _lengths(resolution: Resolution | None) -> float | tuple[float, ...] | None:
    """Resolution as a cell of a table: one number where all axes have it."""
    if resolution is None:
        return None
    lengths = parse_spacing(resolution)
    return lengths[0] if len(set(lengths)) == 1 else lengths


# ----- what sources have


def _entries(
    source: str, cache: Cache, options: dict[str, Any], *, is_asked: bool
) -> tuple[list[AtlasEntry], str | None]:
    """List of a source; none, and the reason, where that cannot be had."""
    try:
        listing = find_listing(source)
        if listing is None:
            reason = f"the source {source} does not say which atlases it has"
            return [], reason if is_asked else None
        return list(map(_checked, listing(_request(source, cache, options)))), None
    except Exception as error:  # whatever a source of another package raises
        if is_asked and not isinstance(error, RemoteError):
            raise
        text = str(error) if isinstance(error, RefspaceError) else repr(error)
        text = without_values(without_secrets(text), options)
        return [], f"the atlases of {source} cannot be listed: {text}"


def _checked(entry: object) -> AtlasEntry:
    if not isinstance(entry, AtlasEntry):
        raise SourceError(f"its list has a {type(entry).__name__}, and no AtlasEntry")
    return replace(entry, resolution=_lengths(entry.resolution))


def _request(source: str, cache: Cache, options: dict[str, Any]) -> Request:
    """Request for a list, in the form of one for an atlas."""
    _, request, _ = locate(f"{source}:*", cache=cache, **options)
    return replace(request, name="")


# ----- what is in the cache


@dataclass(frozen=True)
class _Store:
    """A store in the cache, and what the list of its source may say of it."""

    path: Path
    entry: AtlasEntry
    spec: str

    def is_of(self, entry: AtlasEntry) -> bool:
        """Whether it is a store of an entry."""
        lengths = self.entry.resolution
        first = lengths[0] if isinstance(lengths, tuple) else lengths
        return (
            self.entry.name == entry.name
            and entry.version in (None, self.entry.version)
            # The name of an atlas states the length along one axis.
            and entry.resolution in (None, lengths, first)
        )


def _stores(source: str, cache: Cache, options: dict[str, Any]) -> list[_Store]:
    """Stores of a source in the cache, those first that need no more than their name."""
    stores = [_store(path, source, cache, options) for path in cache.stores(source)]
    found = [store for store in stores if store is not None]
    return sorted(found, key=lambda store: store.spec == str(store.path))


def _store(path: Path, source: str, cache: Cache, options: dict[str, Any]) -> _Store | None:
    """What a store in the cache is of; None of one that cannot be opened."""
    try:
        stored = open_atlas(str(path))
    except (RefspaceError, OSError):
        return None
    provenance = stored.provenance
    stated = {key: provenance.get(key) for key in (ATLAS_KEY, "version", "species")}
    asked, version, species = (v if isinstance(v, str) else None for v in stated.values())
    if asked is None or not asked.startswith(f"{source}:"):
        return None
    resolution = _lengths(stored.levels[0].grid.spacing)
    name = asked.removeprefix(f"{source}:").partition("@")[0]
    entry = AtlasEntry(name, version, resolution, species)
    # It is found by its name where the name, and what was given here, make its path.
    places = {locate(asked, resolution=r, cache=cache, **options)[2] for r in (None, resolution)}
    return _Store(path, entry, asked if path in places else str(path))
