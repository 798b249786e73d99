"""Sources of atlases: an atlas is opened or fetched by the names of its source and its own.

A source is a callable that takes a `Request` and returns `AtlasParts`. For this one, an atlas is
two files on a web server:

>>> from refspace import read_structures
>>> def lab(request: Request) -> AtlasParts:
...     request.check_options(["host"])
...     host = request.options.get("host", "https://lab.example.org")
...     return AtlasParts(
...         request.cache.file(f"{host}/{request.name}.nrrd", progress=request.progress),
...         read_structures(request.cache.file(f"{host}/{request.name}.csv")),
...         orientation="PIR",
...         provenance={"source": host},
...     )

A package that has it in a module ``lab_atlases`` names it in its ``pyproject.toml``::

    [project.entry-points."refspace.sources"]
    lab = "lab_atlases:lab"

Once that is installed, `open`, `fetch` and the command know ``lab:rat``. Environment variables
whose names begin with ``REFSPACE_LAB`` are part of the key of its stores in the cache.

So that `atlases` knows what it has, the package may add a function that lists that::

    [project.entry-points."refspace.listings"]
    lab = "lab_atlases:list_lab"

It takes a `Request` without a name:

>>> def list_lab(request: Request) -> list[AtlasEntry]:
...     return [AtlasEntry("rat", version="2", resolution=39.0, species="Rattus norvegicus")]
"""

from typing import TYPE_CHECKING

from refspace.lazy import lazy_names

if TYPE_CHECKING:
    from refspace.sources.cache import Cache as Cache
    from refspace.sources.listing import atlases as atlases
    from refspace.sources.opening import fetch as fetch
    from refspace.sources.opening import open as open
    from refspace.sources.reference_space_cache import ReferenceSpaceCache as ReferenceSpaceCache
    from refspace.sources.source import AtlasEntry as AtlasEntry
    from refspace.sources.source import AtlasParts as AtlasParts
    from refspace.sources.source import Listing as Listing
    from refspace.sources.source import Request as Request
    from refspace.sources.source import Source as Source

_MODULES = {
    "AtlasEntry": "refspace.sources.source",
    "AtlasParts": "refspace.sources.source",
    "Cache": "refspace.sources.cache",
    "Listing": "refspace.sources.source",
    "ReferenceSpaceCache": "refspace.sources.reference_space_cache",
    "Request": "refspace.sources.source",
    "Source": "refspace.sources.source",
    "atlases": "refspace.sources.listing",
    "fetch": "refspace.sources.opening",
    "open": "refspace.sources.opening",
}

__all__ = sorted(_MODULES)

__getattr__, __dir__ = lazy_names(__name__, _MODULES)
