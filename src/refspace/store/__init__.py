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
    "Atlas": "write",
    "BlockSource": "block_source",
    "ExportLayout": "export",
    "Fault": "verify",
    "Layout": "metadata",
    "Location": "location",
    "Progress": "write",
    "Report": "verify",
    "StoredAtlas": "stored_atlas",
    "TreeLevel": "datatree",
    "WriteTarget": "write",
    "export_image": "export",
    "level_grids": "pyramid",
    "make_datatree": "datatree",
    "open_atlas": "read",
    "open_like": "like",
    "reachable": "location",
    "store_layout": "metadata",
    "verify_store": "verify",
    "write_atlas": "write",
}

__all__ = sorted(_MODULES)

__getattr__, __dir__ = lazy_names(__name__, _MODULES)
