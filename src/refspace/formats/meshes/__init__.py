"""Meshes in files: OBJ, PLY, STL, GLB, and the format of Neuroglancer."""

from refspace.formats.meshes.mesh import Mesh
from refspace.formats.meshes.neuroglancer import (
    encode_fragment,
    neuroglancer_files,
    neuroglancer_info,
    read_neuroglancer_mesh,
    write_neuroglancer_info,
    write_neuroglancer_meshes,
)
from refspace.formats.meshes.obj import read_obj

__all__ = [
    "Mesh",
    "encode_fragment",
    "neuroglancer_files",
    "neuroglancer_info",
    "read_neuroglancer_mesh",
    "read_obj",
    "write_neuroglancer_info",
    "write_neuroglancer_meshes",
]
