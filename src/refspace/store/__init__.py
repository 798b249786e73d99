"""Atlases in zarr stores: OME-Zarr label images with their ontology and label index."""

from typing import TYPE_CHECKING

from refspace.lazy import lazy_names

if TYPE_CHECKING:
    from refspace.store.block_source import BlockSource as BlockSource
    from refspace.store.datatree import TreeLevel as TreeLevel
    from refspace.store.datatree import make_datatree as make_datatree
    from refspace.store.export import ExportLayout as ExportLayout
    from refspace.store.export import export_image as export_image
    from refspace.store.like import open_like as open_like
    from refspace.store.location import Location as Location
    from refspace.store.location import reachable as reachable
    from refspace.store.metadata import Layout as Layout
    from refspace.store.metadata import store_layout as store_layout
    from refspace.store.pyramid import level_grids as level_grids
    from refspace.store.read import open_atlas as open_atlas
    from refspace.store.stored_atlas import StoredAtlas as StoredAtlas
    from refspace.store.verify import Fault as Fault
    from refspace.store.verify import Report as Report
    from refspace.store.verify import verify_store as verify_store
    from refspace.store.write import Atlas as Atlas
    from refspace.store.write import Progress as Progress
    from refspace.store.write import WriteTarget as WriteTarget
    from refspace.store.write import write_atlas as write_atlas

_MODULES = {
    "Atlas": "refspace.store.write",
    "BlockSource": "refspace.store.block_source",
    "ExportLayout": "refspace.store.export",
    "Fault": "refspace.store.verify",
    "Layout": "refspace.store.metadata",
    "Location": "refspace.store.location",
    "Progress": "refspace.store.write",
    "Report": "refspace.store.verify",
    "StoredAtlas": "refspace.store.stored_atlas",
    "TreeLevel": "refspace.store.datatree",
    "WriteTarget": "refspace.store.write",
    "export_image": "refspace.store.export",
    "level_grids": "refspace.store.pyramid",
    "make_datatree": "refspace.store.datatree",
    "open_atlas": "refspace.store.read",
    "open_like": "refspace.store.like",
    "reachable": "refspace.store.location",
    "store_layout": "refspace.store.metadata",
    "verify_store": "refspace.store.verify",
    "write_atlas": "refspace.store.write",
}

__all__ = sorted(_MODULES)

__getattr__, __dir__ = lazy_names(__name__, _MODULES)
