"""Atlases in zarr stores: OME-Zarr label images with their ontology and label index."""

from refspace.store.datatree import level_of, tree_of
from refspace.store.feed import Feed, feed_of
from refspace.store.location import Location, reachable
from refspace.store.metadata import Layout, store_layout
from refspace.store.pyramid import level_grids
from refspace.store.read import StoredAtlas, open_atlas
from refspace.store.verify import Fault, Report, verify_store
from refspace.store.write import Atlas, Progress, write_atlas

__all__ = [
    "Atlas",
    "Fault",
    "Feed",
    "Layout",
    "Location",
    "Progress",
    "Report",
    "StoredAtlas",
    "feed_of",
    "level_grids",
    "level_of",
    "open_atlas",
    "reachable",
    "store_layout",
    "tree_of",
    "verify_store",
    "write_atlas",
]
