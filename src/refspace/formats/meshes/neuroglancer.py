r"""Meshes for Neuroglancer: a folder in its legacy format of one resolution.

It holds a file ``info``, and for each segment a manifest and what it names::

    info              {"@type": "neuroglancer_legacy_mesh"}
    385:0             {"fragments": ["385.mesh"]}
    385.mesh          vertices, positions and triangles, little endian

A fragment is the number of vertices (uint32); x, y and z of each in nm (float32); and the indices
of each triangle's vertices, from 0 (uint32). Source: Neuroglancer's documentation of the
precomputed format, "Legacy single-resolution mesh format".
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from refspace.errors import FormatError
from refspace.files import atomic_write, make_folder, read_at_most
from refspace.formats.meshes.mesh import Mesh
from refspace.limits import check_limit, limit
from refspace.types import MAX_LABEL, PathLike

INFO = "info"
_TYPE = "neuroglancer_legacy_mesh"
_NM_PER_UM = 1000.0
_WORD = 4  # bytes of each number
# Names of fragments that are read: of files in the folder, and of none that is hidden.
_NAME = re.compile(r"(?!\.)[\w.:=+@~-]{1,200}", re.ASCII)


def write_neuroglancer_meshes(folder: PathLike, meshes: Mapping[int, Mesh]) -> None:
    """Write meshes of segments into a folder, beside those that are there.

    Parameters
    ----------
    folder
        Folder; made if missing.
    meshes
        Mesh of each segment, by id. Its x, y and z are those of the layer.

    Raises
    ------
    FormatError
        If an id is none of a segment.
    WriteError
        If there is no space left, or no right to write.

    Examples
    --------
    >>> import refspace, tempfile
    >>> folder = Path(tempfile.mkdtemp(), "meshes")
    >>> write_neuroglancer_meshes(folder, {549: refspace.phantom(resolution=400).mesh("TH")})
    >>> sorted(path.name for path in folder.iterdir())
    ['549.mesh', '549:0', 'info']
    """
    files = {segment: neuroglancer_files(segment, mesh) for segment, mesh in meshes.items()}
    target = make_folder(folder)
    for parts in files.values():
        for name, data in parts.items():
            _write(target / name, data)
    write_neuroglancer_info(target)


def write_neuroglancer_info(folder: PathLike) -> None:
    """Write the file by which Neuroglancer knows that a folder holds meshes."""
    _write(Path(folder, INFO), neuroglancer_info())


def neuroglancer_info() -> bytes:
    """Content of the file ``info``.

    Examples
    --------
    >>> neuroglancer_info()
    b'{"@type": "neuroglancer_legacy_mesh"}'
    """
    return json.dumps({"@type": _TYPE}).encode()


def neuroglancer_files(segment: int, mesh: Mesh) -> dict[str, bytes]:
    """Names and contents of the files of one segment; the manifest, which names the other, last.

    Raises
    ------
    FormatError
        If the id is none of a segment.

    Examples
    --------
    >>> none = np.empty((0, 3))
    >>> neuroglancer_files(7, Mesh(none, none, none.astype(int), none.astype(int)))["7:0"]
    b'{"fragments": ["7.mesh"]}'
    """
    name, manifest = neuroglancer_manifest(segment)
    return {f"{int(segment)}.mesh": encode_fragment(mesh), name: manifest}


def neuroglancer_manifest(segment: int) -> tuple[str, bytes]:
    """Name and content of the manifest of one segment.

    Raises
    ------
    FormatError
        If the id is none of a segment.

    Examples
    --------
    >>> neuroglancer_manifest(7)
    ('7:0', b'{"fragments": ["7.mesh"]}')
    """
    if not 0 < segment <= MAX_LABEL:
        raise FormatError(f"segment {segment} has no mesh; ids are from 1 to {MAX_LABEL}")
    return f"{int(segment)}:0", json.dumps({"fragments": [f"{int(segment)}.mesh"]}).encode()


def encode_fragment(mesh: Mesh) -> bytes:
    """Bytes of a mesh: positions in nm, and triangles.

    Examples
    --------
    >>> corners = np.eye(3)
    >>> mesh = Mesh(corners, corners, np.array([[0, 1, 2]]), np.array([[0, 1, 2]]))
    >>> len(encode_fragment(mesh))
    52
    """
    positions = (mesh.vertices * _NM_PER_UM).astype("<f4")
    count = np.array(len(positions), "<u4")
    return b"".join(part.tobytes() for part in (count, positions, mesh.face_vertices.astype("<u4")))


def read_neuroglancer_mesh(folder: PathLike, segment: int) -> tuple[NDArray[np.float64], ...]:
    """Vertices in µm and triangles of a segment, from a folder of meshes of this format.

    Parameters
    ----------
    folder
        Folder of this machine.
    segment
        Id of the segment.

    Raises
    ------
    FileNotFoundError
        If the folder has no mesh of the segment.
    FormatError
        If what is there is no such mesh.

    Examples
    --------
    >>> import refspace, tempfile
    >>> mesh = refspace.phantom(resolution=400).mesh("TH")
    >>> write_neuroglancer_meshes(folder := tempfile.mkdtemp(), {549: mesh})
    >>> vertices, faces = read_neuroglancer_mesh(folder, 549)
    >>> bool(np.allclose(vertices, mesh.vertices, atol=1e-3))
    True
    """
    vertices: list[NDArray[np.float64]] = [np.empty((0, 3))]
    faces: list[NDArray[np.int64]] = [np.empty((0, 3), np.int64)]
    start = 0
    for path in _fragments(Path(folder), segment):
        positions, triangles = _decode(path, _read(path))
        vertices.append(positions)
        faces.append(triangles + start)
        start += len(positions)
    return np.concatenate(vertices), np.concatenate(faces)


def _write(path: Path, data: bytes) -> None:
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)


def _read(path: Path) -> bytes:
    data = read_at_most(path, limit("mesh_bytes"))
    check_limit("mesh_bytes", len(data), f"{path} has {len(data)} bytes or more")
    return data


def _fragments(folder: Path, segment: int) -> Iterator[Path]:
    """Files that the manifest of a segment names."""
    manifest = folder / f"{int(segment)}:0"
    try:
        names = json.loads(_read(manifest))["fragments"]
        is_manifest = all(_NAME.fullmatch(name) for name in names)
    except (ValueError, TypeError, KeyError, RecursionError):
        is_manifest, names = False, []
    if not is_manifest:
        raise FormatError(f"{manifest} is no manifest of a mesh: a list of fragments in its folder")
    for name in names:
        yield folder / name


def _decode(path: Path, data: bytes) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Positions in µm, and triangles, of a fragment."""
    count = int.from_bytes(data[:_WORD], "little")
    triangles_at = _WORD * (1 + 3 * count)
    if len(data) < max(triangles_at, _WORD) or (len(data) - triangles_at) % (3 * _WORD):
        raise FormatError(f"{path} is no mesh of {count} vertices: it has {len(data)} bytes")
    positions = np.frombuffer(data, "<f4", 3 * count, _WORD).reshape(-1, 3)
    triangles = np.frombuffer(data, "<u4", offset=triangles_at).reshape(-1, 3).astype(np.int64)
    if triangles.max(initial=-1) >= count or not np.isfinite(positions).all():
        raise FormatError(f"{path} has a vertex that is not finite, or a triangle of others")
    return positions.astype(np.float64) / _NM_PER_UM, triangles
