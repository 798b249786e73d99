"""Atlases in zarr stores: OME-Zarr label images with their ontology and label index."""

from refspace.store.block_source import BlockSource
from refspace.store.datatree import TreeLevel, make_datatree
from refspace.store.export import ExportLayout, export_image
from refspace.store.like import open_like
from refspace.store.location import Location, reachable
from refspace.store.metadata import Layout, store_layout
from refspace.store.pyramid import level_grids
from refspace.store.read import open_atlas
from refspace.store.stored_atlas import StoredAtlas
from refspace.store.verify import Fault, Report, verify_store
from refspace.store.write import Atlas, Progress, WriteTarget, write_atlas

__all__ = [
    "Atlas",
    "BlockSource",
    "ExportLayout",
    "Fault",
    "Layout",
    "Location",
    "Progress",
    "Report",
    "StoredAtlas",
    "TreeLevel",
    "WriteTarget",
    "export_image",
    "level_grids",
    "make_datatree",
    "open_atlas",
    "open_like",
    "reachable",
    "store_layout",
    "verify_store",
    "write_atlas",
]
