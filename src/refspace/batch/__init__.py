"""Jobs of many parts, on threads or a dask cluster, that go on where they were stopped."""

from refspace.batch.atlas_reference import AtlasReference
from refspace.batch.images import ImageOptions
from refspace.batch.kept_index import IndexWritten, write_index
from refspace.batch.mask_store import MasksWritten
from refspace.batch.masks import write_masks
from refspace.batch.meshes import MeshesWritten, write_meshes
from refspace.batch.statistics import ImagesAggregated, aggregate_images
from refspace.batch.tables import verify

__all__ = [
    "AtlasReference",
    "ImageOptions",
    "ImagesAggregated",
    "IndexWritten",
    "MasksWritten",
    "MeshesWritten",
    "aggregate_images",
    "verify",
    "write_index",
    "write_masks",
    "write_meshes",
]
