"""Meshes in files, by the ending of the name."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from refspace.errors import FormatError
from refspace.files import atomic_write, read_at_most
from refspace.formats.endings import checked_ending
from refspace.formats.meshes.mesh import Mesh
from refspace.formats.meshes.obj import encode_obj, read_obj
from refspace.formats.meshes.trimesh_files import (
    Rgb,
    decode_mesh,
    encode_glb,
    encode_ply,
    encode_stl,
)
from refspace.limits import check_limit, limit
from refspace.structure_tree import StructureTree
from refspace.types import PathLike

Color: TypeAlias = str | Sequence[int]

_OBJ = ".obj"
_ENCODERS: dict[str, Callable[[Mapping[str, Mesh], Mapping[str, Rgb]], bytes]] = {
    _OBJ: encode_obj,
    ".ply": encode_ply,
    ".stl": encode_stl,
    ".glb": encode_glb,
}
ENDINGS = tuple(_ENCODERS)
"""Endings of the names of meshes that are written and read."""


def mesh_ending(path: PathLike) -> str:
    """Ending of the name of a mesh, in lower case, checked to be one that is written and read.

    Raises
    ------
    FormatError
        If it is not among `ENDINGS`.

    Examples
    --------
    >>> mesh_ending("VISp.OBJ")
    '.obj'
    """
    rule = "meshes are written and read as what their names end in"
    return checked_ending(path, ENDINGS, rule)


def write_mesh(
    meshes: Mesh | Mapping[str, Mesh],
    path: PathLike,
    *,
    colors: Color | Mapping[str, Color] | None = None,
) -> None:
    """Write a mesh, or several in one file, which appears whole or not at all.

    Positions are written as they are: in µm, though programs may take those of glTF as metres.

    Parameters
    ----------
    meshes
        The mesh, or meshes by name. OBJ has an object of each name, and GLB a node; in PLY and STL
        they are one.
    path
        File to write: ``.obj``, ``.ply``, ``.stl`` or ``.glb``.
    colors
        Colour, or colours by name: six hexadecimal digits, or red, green and blue from 0 to 255.
        PLY and GLB have them.

    Raises
    ------
    FormatError
        If the file has another ending, there is no triangle to write, or a colour is of no mesh.
    OntologyError
        If a colour is none.
    MissingDependencyError
        If trimesh is not installed, which OBJ does not need.
    OSError
        As for `refspace.write_nrrd`.

    Examples
    --------
    >>> import refspace, tempfile
    >>> space, folder = refspace.phantom(resolution=200), Path(tempfile.mkdtemp())
    >>> write_mesh(space.mesh("VISp"), folder / "VISp.obj")
    >>> meshes = {name: space.mesh(name) for name in ("VISp", "TH")}
    >>> write_mesh(meshes, folder / "both.glb", colors={"VISp": "08858c", "TH": "ff7080"})
    >>> read_mesh(folder / "both.glb").is_closed
    True
    """
    ending = mesh_ending(path)
    name = Path(path).stem
    named = {name: meshes} if isinstance(meshes, Mesh) else dict(meshes)
    if not any(len(mesh.face_vertices) for mesh in named.values()):
        raise FormatError(
            f"{os.fspath(path)}: there is no triangle to write; give a mesh with some"
        )
    if colors is not None and not isinstance(colors, Mapping):
        colors = dict.fromkeys(named, colors)
    if unknown := sorted({*(colors or {})} - {*named}):
        raise FormatError(
            f"there is a colour for {', '.join(map(repr, unknown))}, but no mesh; colours are "
            "named as the meshes are"
        )
    rgb = {each: StructureTree.hex_to_rgb(color) for each, color in (colors or {}).items()}
    data = encode_mesh(named, ending, rgb)
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)


def encode_mesh(meshes: Mapping[str, Mesh], ending: str, colors: Mapping[str, Rgb]) -> bytes:
    r"""Bytes of a file of meshes by name, as `write_mesh` writes it.

    Parameters
    ----------
    meshes
        Meshes by name.
    ending
        Ending of the name of the file, among `ENDINGS`.
    colors
        Red, green and blue, from 0 to 255, of those that have a colour.

    Raises
    ------
    MissingDependencyError
        If trimesh is not installed, which OBJ does not need.

    Examples
    --------
    >>> import numpy as np
    >>> corners, triangle = np.eye(3), np.array([[0, 1, 2]])
    >>> encode_mesh({"a": Mesh(corners, corners, triangle, triangle)}, ".obj", {})[:4]
    b'o a\n'
    """
    return _ENCODERS[ending](meshes, colors)


def read_mesh(path: PathLike) -> Mesh:
    """Read a mesh of triangles: all that is in a file, as one.

    Parameters
    ----------
    path
        Local file, in what its name ends in: ``.obj``, ``.ply``, ``.stl`` or ``.glb``.

    Returns
    -------
    Mesh
        Positions as the file has them, in µm if refspace wrote it.

    Raises
    ------
    FormatError
        If it is no such mesh, or has more bytes than the limit ``mesh_bytes``.
    MissingDependencyError
        If trimesh is not installed, which OBJ does not need.

    Examples
    --------
    >>> import refspace, tempfile
    >>> path = Path(tempfile.mkdtemp(), "VISp.ply")
    >>> write_mesh(refspace.phantom(resolution=400).mesh("VISp"), path, colors="08858c")
    >>> read_mesh(path).face_vertices.shape[1]
    3
    """
    ending = mesh_ending(path)
    if ending == _OBJ:
        return read_obj(path)
    data = read_at_most(Path(path), limit("mesh_bytes"))
    check_limit("mesh_bytes", len(data), f"{os.fspath(path)} has {len(data)} bytes or more")
    return decode_mesh(data, ending, os.fspath(path))
