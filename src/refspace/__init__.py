"""Brain reference spaces as labelled, lazy, chunked arrays.

Names are imported when they are first used: ``import refspace`` alone loads no array library, and
touches neither network nor disk.
"""

from typing import TYPE_CHECKING

from refspace.lazy import lazy_names
from refspace.version import __version__ as __version__

if TYPE_CHECKING:
    from refspace.batch import aggregate_images as aggregate_images
    from refspace.batch import verify as verify
    from refspace.batch import write_index as write_index
    from refspace.batch import write_masks as write_masks
    from refspace.batch import write_meshes as write_meshes
    from refspace.conversion import convert as convert
    from refspace.errors import RefspaceError as RefspaceError
    from refspace.formats.meshes import read_mesh as read_mesh
    from refspace.formats.meshes import write_mesh as write_mesh
    from refspace.formats.metaimage import write_metaimage as write_metaimage
    from refspace.formats.nifti import read_nifti as read_nifti
    from refspace.formats.nifti import write_nifti as write_nifti
    from refspace.formats.nrrd import read_nrrd as read_nrrd
    from refspace.formats.nrrd import write_nrrd as write_nrrd
    from refspace.formats.structure_output import write_structures as write_structures
    from refspace.formats.structures import read_structures as read_structures
    from refspace.formats.tiff import read_tiff as read_tiff
    from refspace.formats.tiff import write_tiff as write_tiff
    from refspace.grid import Grid as Grid
    from refspace.limits import set_limits as set_limits
    from refspace.reference_space import ReferenceSpace as ReferenceSpace
    from refspace.samples import phantom as phantom
    from refspace.sources import ReferenceSpaceCache as ReferenceSpaceCache
    from refspace.sources import atlases as atlases
    from refspace.sources import fetch as fetch
    from refspace.sources import open as open
    from refspace.store.masks import open_masks as open_masks
    from refspace.store.verify import verify_store as verify_store
    from refspace.structure_tree import StructureTree as StructureTree
    from refspace.verbs.reading import read_image as read_image

_ROOMS = {
    "Grid": "refspace.grid",
    "ReferenceSpace": "refspace.reference_space",
    "ReferenceSpaceCache": "refspace.sources",
    "RefspaceError": "refspace.errors",
    "StructureTree": "refspace.structure_tree",
    "aggregate_images": "refspace.batch",
    "atlases": "refspace.sources",
    "convert": "refspace.conversion",
    "fetch": "refspace.sources",
    "open": "refspace.sources",
    "open_masks": "refspace.store.masks",
    "phantom": "refspace.samples",
    "read_image": "refspace.verbs.reading",
    "read_mesh": "refspace.formats.meshes",
    "read_nifti": "refspace.formats.nifti",
    "read_nrrd": "refspace.formats.nrrd",
    "read_structures": "refspace.formats.structures",
    "read_tiff": "refspace.formats.tiff",
    "set_limits": "refspace.limits",
    "verify": "refspace.batch",
    "verify_store": "refspace.store.verify",
    "write_index": "refspace.batch",
    "write_masks": "refspace.batch",
    "write_mesh": "refspace.formats.meshes",
    "write_meshes": "refspace.batch",
    "write_metaimage": "refspace.formats.metaimage",
    "write_nifti": "refspace.formats.nifti",
    "write_nrrd": "refspace.formats.nrrd",
    "write_structures": "refspace.formats.structure_output",
    "write_tiff": "refspace.formats.tiff",
}

# Without open: a star import must not replace the builtin.
__all__ = sorted(_ROOMS.keys() - {"open"})


__getattr__, _names = lazy_names(__name__, _ROOMS)


def __dir__() -> list[str]:
    return [*_names(), "__version__"]
