"""Meshes in files: OBJ, PLY, STL, GLB, and the format of Neuroglancer."""

from refspace.formats.meshes.files import (
    ENDINGS,
    Color,
    encode_mesh,
    mesh_ending,
    read_mesh,
    write_mesh,
)
from refspace.formats.meshes.mesh import Mesh
from refspace.formats.meshes.neuroglancer import (
    INFO,
    encode_fragment,
    neuroglancer_files,
    neuroglancer_info,
    neuroglancer_manifest,
    read_neuroglancer_mesh,
    write_neuroglancer_info,
    write_neuroglancer_meshes,
)
from refspace.formats.meshes.obj import read_obj

__all__ = [
    "ENDINGS",
    "INFO",
    "Color",
    "Mesh",
    "encode_fragment",
    "encode_mesh",
    "mesh_ending",
    "neuroglancer_files",
    "neuroglancer_info",
    "neuroglancer_manifest",
    "read_mesh",
    "read_neuroglancer_mesh",
    "read_obj",
    "write_mesh",
    "write_neuroglancer_info",
    "write_neuroglancer_meshes",
]
