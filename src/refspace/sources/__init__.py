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

from refspace.sources.cache import Cache
from refspace.sources.listing import atlases
from refspace.sources.opening import fetch, open
from refspace.sources.reference_space_cache import ReferenceSpaceCache
from refspace.sources.source import AtlasEntry, AtlasParts, Listing, Request, Source

__all__ = [
    "AtlasEntry",
    "AtlasParts",
    "Cache",
    "Listing",
    "ReferenceSpaceCache",
    "Request",
    "Source",
    "atlases",
    "fetch",
    "open",
]
