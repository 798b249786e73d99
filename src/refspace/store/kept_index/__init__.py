"""Label indices of images that other programs wrote: kept beside the image, or in the cache."""

from refspace.store.kept_index.kept import Found, KeptIndex
from refspace.store.kept_index.measuring import SpaceAxes, block_bytes, measured_rows
from refspace.store.kept_index.packed import ABSENT, IndexedArray, NoIndexError, PackedIndex
from refspace.store.kept_index.places import (
    Place,
    given_place,
    in_cache,
    index_places,
    may_write,
)
from refspace.store.kept_index.stamps import MISSING, UNSTATED, block_stamps

__all__ = [
    "ABSENT",
    "MISSING",
    "UNSTATED",
    "Found",
    "IndexedArray",
    "KeptIndex",
    "NoIndexError",
    "PackedIndex",
    "Place",
    "SpaceAxes",
    "block_bytes",
    "block_stamps",
    "given_place",
    "in_cache",
    "index_places",
    "may_write",
    "measured_rows",
]
