"""Surface meshes of structures in Wavefront OBJ files.

Source of the format: Wavefront's "Object Files", appendix B1 of the Advanced Visualizer manual.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refspace.errors import FormatError
from refspace.formats.meshes.mesh import Mesh
from refspace.limits import check_limit
from refspace.safe_text import shown
from refspace.types import PathLike

# Statements beside the geometry, which are skipped: names, groups, smoothing, materials, textures.
_SKIPPED_STATEMENTS = frozenset({"o", "g", "s", "mtllib", "usemtl", "vt"})
_COLUMNS = 3
_LARGEST_INDEX = 2**31 - 1
_MOST_SHOWN = 60  # characters of a line, in messages
_PIECE = 2**16  # rows that are written at a time


def read_obj(path: PathLike) -> Mesh:
    r"""Read a mesh of triangles with normals.

    Parameters
    ----------
    path
        Local file.

    Raises
    ------
    FormatError
        If the file is no such mesh; the message names the line.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile("w", suffix=".obj", delete=False) as file:
    ...     _ = file.write("v 0 0 0\nv 5 0 0\nv 0 5 0\nvn 0 0 1\nf 1//1 2//1 3//1\n")
    >>> read_obj(file.name).face_vertices
    array([[0, 1, 2]])
    """
    rows: dict[str, list[list[Any]]] = {"v": [], "vn": [], "f": []}
    for line_number, (kind, *values) in _lines(path):
        if kind in _SKIPPED_STATEMENTS:
            continue
        try:
            rows[kind].append(_row(kind, values))
        except (KeyError, ValueError) as error:
            line = " ".join([kind, *values])
            line = line if len(line) <= _MOST_SHOWN else f"{line[:_MOST_SHOWN]}…"
            raise FormatError(
                f"{os.fspath(path)}, line {line_number}: {line!r} is none of "
                "a mesh of triangles with normals: v x y z, vn x y z, f v//vn v//vn v//vn"
            ) from error
    vertices, normals = (np.array(rows[kind], float).reshape(-1, _COLUMNS) for kind in ("v", "vn"))
    corners = np.array(rows["f"], np.int64).reshape(-1, _COLUMNS, 2) - 1  # from 0
    for index, (what, table) in enumerate([("vertex", vertices), ("normal", normals)]):
        _check_range(path, what, corners[..., index], len(table))
    return Mesh(vertices, normals, corners[..., 0].copy(), corners[..., 1].copy())


def _lines(path: PathLike) -> Iterator[tuple[int, list[str]]]:
    """Fields of each line that is not blank or a comment, and its number."""
    try:
        with Path(path).open(encoding="utf-8") as file:
            size = os.fstat(file.fileno()).st_size
            check_limit("mesh_bytes", size, f"{os.fspath(path)} has {size} bytes")
            for line_number, line in enumerate(file, 1):
                if fields := line.partition("#")[0].split():
                    yield line_number, fields
    except UnicodeDecodeError as error:
        raise FormatError(f"{os.fspath(path)}: not text, and so no OBJ mesh") from error


def _row(kind: str, values: Sequence[str]) -> list[Any]:
    """Numbers of a line: three coordinates, or the indices of three corners."""
    if len(values) != _COLUMNS:
        raise ValueError
    if kind != "f":
        coordinates = [float(value) for value in values]
        if not np.isfinite(coordinates).all():
            raise ValueError
        return coordinates
    return [_corner(value) for value in values]


def _corner(text: str) -> tuple[int, int]:
    """Indices of a corner's vertex and normal; that of a texture, between them, is skipped."""
    vertex, _, normal = text.split("/")
    corner = int(vertex), int(normal)
    if max(map(abs, corner)) > _LARGEST_INDEX:
        raise ValueError
    return corner


def _check_range(path: PathLike, what: str, indices: NDArray[np.int64], count: int) -> None:
    wrong = indices[(indices < 0) | (indices >= count)]
    if wrong.size:
        raise FormatError(
            f"{os.fspath(path)}: a triangle names {what} {wrong[0] + 1}; there are 1 to {count}"
        )


# ----- writing


def encode_obj(meshes: Mapping[str, Mesh], colors: Mapping[str, Sequence[int]]) -> bytes:
    r"""Bytes of a file with an object for each mesh; colours would need a second file.

    Examples
    --------
    >>> corners = np.eye(3)
    >>> mesh = Mesh(corners, corners, np.array([[0, 1, 2]]), np.array([[0, 1, 2]]))
    >>> encode_obj({"a b": mesh}, {}).splitlines()[::7]
    [b'o a_b', b'f 1//1 2//2 3//3']
    """
    parts, vertices, normals = [], 0, 0
    for name, mesh in meshes.items():
        # One word, whatever the name: a line break in it would begin another statement.
        parts.append(f"o {'_'.join(shown(name).split())}\n")
        parts.append(_lines_of("v %.9g %.9g %.9g\n", mesh.vertices))
        parts.append(_lines_of("vn %.6g %.6g %.6g\n", mesh.vertex_normals))
        corners = np.stack((mesh.face_vertices + vertices, mesh.face_normals + normals), axis=-1)
        parts.append(_lines_of("f %d//%d %d//%d %d//%d\n", corners + 1))  # from 1
        vertices += len(mesh.vertices)
        normals += len(mesh.vertex_normals)
    return "".join(parts).encode()


def _lines_of(line: str, rows: NDArray[Any]) -> str:
    """A line for each row of numbers."""
    # Piece by piece: numbers of Python take five times the memory of their text.
    pieces = [rows[start : start + _PIECE] for start in range(0, len(rows), _PIECE)]
    return "".join(line * len(piece) % tuple(piece.ravel().tolist()) for piece in pieces)
