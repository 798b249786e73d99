"""Whether pages may read a store on another machine from where it is: whether it allows CORS."""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from refspace.safe_text import without_secrets
from refspace.verbs.space import Space

_SECONDS = 5
_MOST_BYTES = 64 * 2**20
# Any page of the viewer: its port is not known yet, and servers that name origins name no other.
_ORIGIN = "http://127.0.0.1:9999"
# Options that say where a bucket is; any other may be a secret, which no page is given.
_PUBLIC_OPTIONS = {"anon", "endpoint_url", "client_kwargs"}


@dataclass(frozen=True)
class InPlace:
    """A store that the page reads itself.

    Parameters
    ----------
    url
        Its URL.
    origin
        Scheme and host of that.
    """

    url: str
    origin: str


def in_place_url(
    levels: Sequence[Space], storage_options: Mapping[str, Any] | None
) -> InPlace | None:
    """URL at which a page can read the annotation itself; None if only this process can.

    Parameters
    ----------
    levels
        The space at the resolutions of its store. What was changed since it was opened is not what
        the store holds.
    storage_options
        What fsspec needs to reach the store.
    """
    url = public_url(levels[0].url, storage_options)
    if url is None or not all(map(_is_as_stored, levels)):
        return None
    metadata = _metadata_for_pages(url)
    if metadata is None or not _has_levels(metadata, levels):
        return None
    parts = urlsplit(url)
    return InPlace(f"{url}/", f"{parts.scheme}://{parts.netloc}")


def public_url(url: str | None, storage_options: Mapping[str, Any] | None) -> str | None:
    """URL by which anybody can read a store over HTTP; None if there is none, or it is secret.

    Examples
    --------
    >>> public_url("s3://bucket/ccf.zarr", {"anon": True})
    'https://bucket.s3.amazonaws.com/ccf.zarr'
    >>> public_url("https://me:secret@host/ccf.zarr", None) is None
    True
    """
    options = dict(storage_options or {})
    if url is None or without_secrets(url) != url or "?" in url or "#" in url:
        return None
    parts = urlsplit(url)
    if parts.scheme in ("http", "https"):
        return url.rstrip("/") if not options else None
    if parts.scheme != "s3" or not options.get("anon") or {*options} - _PUBLIC_OPTIONS:
        return None
    client = options.get("client_kwargs") or {}
    endpoint = options.get("endpoint_url") or client.get("endpoint_url")
    key = quote(parts.path.strip("/"))
    if endpoint:
        return f"{str(endpoint).rstrip('/')}/{parts.netloc}/{key}"
    return f"https://{parts.netloc}.s3.amazonaws.com/{key}"


def _is_as_stored(space: Space) -> bool:
    """Whether the labels are read from a store, and not changed since."""
    data = space.annotation.data
    return space.volume.hemispheres.side is None and len(data.dask.layers) == 1


def _metadata_for_pages(url: str) -> Mapping[str, Any] | None:
    """Metadata of a store, if its server lets any page read it; None if not, or it is not there."""
    request = urllib.request.Request(f"{url}/zarr.json", headers={"Origin": _ORIGIN})
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
            if answer.headers.get("Access-Control-Allow-Origin") != "*":
                return None
            found = json.loads(answer.read(_MOST_BYTES))
    except (OSError, ValueError, RecursionError, urllib.error.URLError):
        return None
    return found if isinstance(found, dict) else None


def _has_levels(metadata: Mapping[str, Any], levels: Sequence[Space]) -> bool:
    """Whether the metadata place the levels as they are placed here, in µm."""
    try:
        scales = metadata["attributes"]["ome"]["multiscales"][0]
        axes = [(axis["name"], axis["unit"]) for axis in scales["axes"]]
        stored = [dataset["coordinateTransformations"] for dataset in scales["datasets"]]
        placed = [(list(a["scale"]), list(b["translation"])) for a, b in stored]
    except (KeyError, IndexError, TypeError, ValueError):
        return False
    grid = levels[0].grid
    expected = [
        (list(g.spacing), [float(g.coordinates(dim)[0]) for dim in g.dims])
        for g in (level.grid for level in levels)
    ]
    return axes == [(dim, "micrometer") for dim in grid.dims] and placed == expected
