"""Meshes in PLY, STL and GLB files, which trimesh writes and reads."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refspace.errors import FormatError, MissingDependencyError
from refspace.formats.meshes.mesh import Mesh
from refspace.kernels import vertex_normals

Rgb = Sequence[int]

# Where glTF, whose unit is the metre, is told of another one.
_EXTRAS = {"units": "micrometer"}


def encode_ply(meshes: Mapping[str, Mesh], colors: Mapping[str, Rgb]) -> bytes:
    """Bytes of a binary PLY file of all meshes, with normals, and colours if there are any.

    Raises
    ------
    MissingDependencyError
        If trimesh is not installed.

    Examples
    --------
    >>> corners = np.eye(3)
    >>> mesh = Mesh(corners, corners, np.array([[0, 1, 2]]), np.array([[0, 1, 2]]))
    >>> encode_ply({"a": mesh}, {"a": (255, 0, 0)})[:3]
    b'ply'
    """
    whole = _joined(meshes)
    if colors:
        white = (255, 255, 255)
        rows = [np.array([*colors.get(name, white), 255], np.uint8) for name in meshes]
        counts = [len(mesh.vertices) for mesh in meshes.values()]
        whole.visual.vertex_colors = np.repeat(rows, counts, axis=0)
    return bytes(whole.export(file_type="ply", vertex_normal=True))


def encode_stl(meshes: Mapping[str, Mesh], colors: Mapping[str, Rgb]) -> bytes:
    """Bytes of a binary STL file of all meshes; it has no colours.

    Raises
    ------
    MissingDependencyError
        If trimesh is not installed.
    """
    return bytes(_joined(meshes).export(file_type="stl"))


def encode_glb(meshes: Mapping[str, Mesh], colors: Mapping[str, Rgb]) -> bytes:
    """Bytes of a binary glTF file: a scene with a node of its name and colour for each mesh.

    Raises
    ------
    MissingDependencyError
        If trimesh is not installed.

    Examples
    --------
    >>> corners = np.eye(3)
    >>> mesh = Mesh(corners, corners, np.array([[0, 1, 2]]), np.array([[0, 1, 2]]))
    >>> encode_glb({"a": mesh}, {"a": (255, 0, 0)})[:4]
    b'glTF'
    """
    trimesh = _trimesh()
    scene = trimesh.Scene()
    for name, mesh in meshes.items():
        shape = _shape(mesh)
        if name in colors:
            material = trimesh.visual.material.PBRMaterial(
                name=name,
                baseColorFactor=[*colors[name], 255],
                metallicFactor=0.0,
                roughnessFactor=0.9,
            )
            shape.visual = trimesh.visual.TextureVisuals(material=material)
        scene.add_geometry(shape, node_name=name, geom_name=name)
    return bytes(scene.export(file_type="glb", include_normals=True, tree_postprocessor=_finish))


def decode_mesh(data: bytes, ending: str, path: str) -> Mesh:
    """Mesh of the bytes of a file: all that is in it, as one.

    Parameters
    ----------
    data
        Content of the file.
    ending
        ``".ply"``, ``".stl"`` or ``".glb"``.
    path
        Where it is, for messages.

    Raises
    ------
    FormatError
        If it is no such mesh.
    MissingDependencyError
        If trimesh is not installed.
    """
    trimesh = _trimesh()
    try:
        # Without what would follow the names of other files. Of STL alone, corners are merged.
        loaded = trimesh.load_scene(
            io.BytesIO(data), file_type=ending[1:], process=ending == ".stl", resolver=None
        ).to_mesh()
        vertices = np.asarray(loaded.vertices, np.float64).reshape(-1, 3)
        faces = np.asarray(loaded.faces, np.int64).reshape(-1, 3)
    # Whatever it is that trimesh meets in a damaged file.
    except Exception as error:
        raise FormatError(f"{path} is damaged, or no mesh of the kind {ending}") from error
    _check(vertices, faces, path)
    return Mesh(vertices, vertex_normals(vertices, faces), faces, faces)


def _check(vertices: NDArray[np.float64], faces: NDArray[np.int64], path: str) -> None:
    """Refuse what would be no mesh for what follows."""
    if not faces.size:
        raise FormatError(f"{path} has no triangle; give a mesh of triangles")
    if faces.min() < 0 or faces.max() >= len(vertices) or not np.isfinite(vertices).all():
        raise FormatError(f"{path} has a triangle of other vertices, or one that is not finite")


def _trimesh() -> Any:
    """The library, which is an extra."""
    try:
        import trimesh
    except ImportError as error:
        raise MissingDependencyError(
            "meshes in PLY, STL and GLB need trimesh; install it with: pip install "
            "trimesh, or give a name that ends in .obj"
        ) from error
    return trimesh


def _joined(meshes: Mapping[str, Mesh]) -> Any:
    """All meshes as one of trimesh."""
    vertices, faces, normals = zip(*(_parts(mesh) for mesh in meshes.values()), strict=True)
    starts = np.cumsum([0, *(len(part) for part in vertices)])
    shifted = [part + start for part, start in zip(faces, starts, strict=False)]
    return _trimesh().Trimesh(
        np.concatenate(vertices),
        np.concatenate(shifted),
        vertex_normals=np.concatenate(normals),
        process=False,
    )


def _shape(mesh: Mesh) -> Any:
    vertices, faces, normals = _parts(mesh)
    return _trimesh().Trimesh(vertices, faces, vertex_normals=normals, process=False)


def _parts(mesh: Mesh) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Vertices, triangles, and a normal for each vertex, which the mesh may not have."""
    vertices, faces = mesh.vertices, mesh.face_vertices
    has_own = len(mesh.vertex_normals) == len(vertices)
    has_own = has_own and np.array_equal(mesh.face_normals, faces)
    return vertices, faces, mesh.vertex_normals if has_own else vertex_normals(vertices, faces)


def _finish(tree: dict[str, Any]) -> None:
    """State what trimesh does not: the unit, and colours in the linear scale of glTF."""
    tree["asset"]["extras"] = _EXTRAS
    for material in tree.get("materials", ()):
        surface = material.get("pbrMetallicRoughness", {})
        if "baseColorFactor" in surface:
            *rgb, alpha = surface["baseColorFactor"]
            surface["baseColorFactor"] = [*map(_linear, rgb), alpha]


def _linear(share: float) -> float:
    """Linear intensity of a share of a colour; source: IEC 61966-2-1, sRGB."""
    return share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4
