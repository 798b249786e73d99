"""Which atlas a text names, and where its store is in the cache; nothing is opened."""

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from refspace.errors import SourceError
from refspace.grid import parse_spacing
from refspace.remote.download import Progress
from refspace.safe_text import places_in
from refspace.sources.brainglobe_bucket import find_atlas
from refspace.sources.cache import Cache
from refspace.sources.ccf import list_abc, list_allen
from refspace.sources.source import Request, looks_like_spec, parse_spec, source_names
from refspace.store.location import reachable
from refspace.types import PathLike, Resolution

# Options of how a volume is read; they do not change its content.
_ACCESS = ("storage_options", "engine", "chunk_cache")
# Part of the key of stores in the cache: a change of how they are made gets a new number here.
_FORMAT = 2
ATLAS_KEY = "fetched_as"
"""Key in the provenance of stores in the cache: source and atlas, as they were asked for."""

# As names of atlases end in BrainGlobe.
_BRAINGLOBE_NAME = re.compile(r"[a-z0-9_]+_[0-9.]+(nm|um|mm)")


def named_atlas(
    url: PathLike, options: dict[str, Any]
) -> tuple[tuple[str, str] | None, dict[str, Any]]:
    """Source and atlas that a text names, or that a folder is, and options; None for any other."""
    spec = parse_spec(url)
    if spec is None and (found := find_atlas(url)) is not None:
        return ("brainglobe", found[1]), {"base": found[0], **options}
    return spec, options


def locate(
    spec: str,
    *,
    resolution: Resolution | None = None,
    refresh: bool = False,
    cache: Cache | PathLike | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> tuple[str, Request, Path]:
    """Source, request and path of the store for arguments of `fetch`, without a download."""
    parsed, options = named_atlas(spec, options)
    if parsed is None:
        if (meant := suggestion(str(spec))) is not None:
            raise SourceError(f"{spec!r} is no source and atlas: {meant}")
        raise SourceError(
            f"{spec!r} is no source and atlas, like 'allen:ccf_2017'; sources are "
            f"{', '.join(source_names())}"
        )
    root = cache.root if isinstance(cache, Cache) else cache
    request = make_request(parsed[1], resolution, Cache(root, refresh=refresh), progress, options)
    return parsed[0], request, request.cache.store(store_key(parsed[0], request))


def make_request(
    name: str,
    resolution: Resolution | None,
    cache: Cache | None,
    progress: Progress | None,
    options: Mapping[str, Any],
) -> Request:
    """Request in a normal form, so that arguments of the same meaning have the same store."""
    wanted = {
        key: value for key, value in options.items() if value is not None and value is not False
    }
    access = {key: wanted.pop(key) for key in _ACCESS if key in wanted}
    # A path is part of the key of a store, and is another one in another working directory.
    if "base" in wanted and Path(folder := reachable(str(wanted["base"]))).is_dir():
        wanted["base"] = folder
    return Request(name, _plain(resolution), wanted, cache or Cache(), progress, access)


def _plain(resolution: Resolution | None) -> Resolution | None:
    if resolution is None:
        return None
    lengths = parse_spacing(resolution)
    return lengths[0] if len(set(lengths)) == 1 else list(lengths)


def store_key(source: str, request: Request) -> dict[str, Any]:
    """All that the content of a store depends on: the request, and variables that name hosts."""
    prefix = f"REFSPACE_{source.upper()}"
    named = {key: value for key, value in os.environ.items() if key.startswith(prefix)}
    return {
        "format": _FORMAT,
        "source": source,
        "name": request.name,
        "resolution": request.resolution,
        "options": dict(request.options),
        # They may name another host.
        "storage_options": places_in(request.access.get("storage_options") or {}) or None,
        "environment": named,
    }


def suggestion(text: str) -> str | None:
    """What a text may mean that is no file, store or atlas; None if it looks like a path.

    No host is asked: names of BrainGlobe's atlases are known by their form.

    Examples
    --------
    >>> suggestion("ccf_2017"), suggestion("alen:ccf_2017")
    ("did you mean 'allen:ccf_2017'?", "there is no source alen; did you mean 'allen:ccf_2017'?")
    >>> suggestion("folder/atlas.zarr")
    """
    source, colon, name = text.partition(":")
    if colon and looks_like_spec(text):
        near = difflib.get_close_matches(source, source_names(), 1)
        listed = f"sources are {', '.join(source_names())}"
        return f"there is no source {source}; " + (
            f"did you mean '{near[0]}:{name}'?" if near else listed
        )
    if os.sep in text or Path(text).suffix:
        return None
    if _BRAINGLOBE_NAME.fullmatch(text):
        return f"did you mean 'brainglobe:{text}'?"
    names = {entry.name: f"abc:{entry.name}" for entry in list_abc(Request(""))}
    names |= {entry.name: f"allen:{entry.name}" for entry in list_allen(Request(""))}
    if near := difflib.get_close_matches(text, names, 1, cutoff=0.7):
        return f"did you mean '{names[near[0]]}'?"
    if text in source_names():
        return f"{text} is a source: name an atlas of it too, as 'refspace list {text}' has them"
    return None
