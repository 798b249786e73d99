"""Surface meshes of structures from Wavefront OBJ files.

Facts about the format: Wavefront's "Object Files", appendix B1 of the Advanced Visualizer manual.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from refspace.errors import FormatError

# What a mesh may hold beside its geometry: names, groups, smoothing, materials, textures.
_WITHOUT_MEANING = frozenset({"o", "g", "s", "mtllib", "usemtl", "vt"})
_COLUMNS = 3
_LARGEST_NUMBER = 2**31 - 1


class Mesh(NamedTuple):
    """A surface of triangles.

    Parameters
    ----------
    vertices
        Positions in µm, float64 (vertices × 3).
    vertex_normals
        Normals, float64 (normals × 3).
    face_vertices
        Numbers of each triangle's vertices, from 0, int64 (triangles × 3).
    face_normals
        Numbers of the normals at these vertices.
    """

    vertices: NDArray[np.float64]
    vertex_normals: NDArray[np.float64]
    face_vertices: NDArray[np.int64]
    face_normals: NDArray[np.int64]


def read_obj(path: str | os.PathLike[str]) -> Mesh:
    r"""Read a mesh of triangles with normals.

    Parameters
    ----------
    path
        Local file.

    Raises
    ------
    FormatError
        If it is no such mesh; the message names the line.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile("w", suffix=".obj", delete=False) as file:
    ...     _ = file.write("v 0 0 0\nv 5 0 0\nv 0 5 0\nvn 0 0 1\nf 1//1 2//1 3//1\n")
    >>> read_obj(file.name).face_vertices
    array([[0, 1, 2]])
    """
    rows: dict[str, list[list[Any]]] = {"v": [], "vn": [], "f": []}
    for number, (kind, *values) in _lines(path):
        if kind in _WITHOUT_MEANING:
            continue
        try:
            rows[kind].append(_row(kind, values))
        except (KeyError, ValueError) as error:
            raise FormatError(
                f"{os.fspath(path)}, line {number}: {' '.join([kind, *values])!r} is none of a "
                "mesh of triangles with normals: v x y z, vn x y z, f v//vn v//vn v//vn"
            ) from error
    vertices, normals = (np.array(rows[kind], float).reshape(-1, _COLUMNS) for kind in ("v", "vn"))
    corners = np.array(rows["f"], np.int64).reshape(-1, _COLUMNS, 2) - 1
    for index, (what, table) in enumerate([("vertex", vertices), ("normal", normals)]):
        _check_range(path, what, corners[..., index], len(table))
    return Mesh(vertices, normals, corners[..., 0].copy(), corners[..., 1].copy())


def _lines(path: str | os.PathLike[str]) -> Iterator[tuple[int, list[str]]]:
    """Words of each line that holds any, without comments, and its number."""
    try:
        with Path(path).open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if words := line.partition("#")[0].split():
                    yield number, words
    except UnicodeDecodeError as error:
        raise FormatError(f"{os.fspath(path)}: not text, and so no OBJ mesh") from error


def _row(kind: str, values: Sequence[str]) -> list[Any]:
    """Numbers of a line: three coordinates, or three corners."""
    if len(values) != _COLUMNS:
        raise ValueError
    if kind != "f":
        numbers = [float(value) for value in values]
        if not np.isfinite(numbers).all():
            raise ValueError
        return numbers
    return [_corner(value) for value in values]


def _corner(text: str) -> tuple[int, int]:
    """Numbers of a corner's vertex and normal; a texture between them has no meaning here."""
    vertex, _, normal = text.split("/")
    corner = int(vertex), int(normal)
    if max(corner) > _LARGEST_NUMBER:
        raise ValueError
    return corner


def _check_range(
    path: str | os.PathLike[str], what: str, numbers: NDArray[np.int64], count: int
) -> None:
    wrong = numbers[(numbers < 0) | (numbers >= count)]
    if wrong.size:
        raise FormatError(
            f"{os.fspath(path)}: a triangle names {what} {wrong[0] + 1}; there are 1 to {count}"
        )
