"""Where atlases come from, by name.

A source is a callable that takes a `Request` and gives `AtlasParts`; nothing else is asked of it.
"""

from refspace.sources.cache import Cache
from refspace.sources.opening import fetch, open
from refspace.sources.reference_space_cache import ReferenceSpaceCache
from refspace.sources.source import AtlasParts, Request, Source

__all__ = [
    "AtlasParts",
    "Cache",
    "ReferenceSpaceCache",
    "Request",
    "Source",
    "fetch",
    "open",
]
