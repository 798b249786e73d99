"""A surface of triangles, as meshes of structures are."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from refspace.kernels import enclosed_volume

_UM3_PER_MM3 = 1e9


class Mesh(NamedTuple):
    """A surface of triangles.

    Its volume, bounds and whether it is closed are computed when they are asked for.

    Parameters
    ----------
    vertices
        Positions in µm, float64 (vertices × 3): x, y and z of the frame, which in the Allen CCF are
        ap, dv and ml.
    vertex_normals
        Normals, float64 (normals × 3).
    face_vertices
        Indices of each triangle's vertices, from 0, int64 (triangles × 3); in meshes that refspace
        makes, counter-clockwise seen from outside where x, y and z are right-handed.
    face_normals
        Indices of the normals at these vertices.

    Examples
    --------
    >>> import refspace
    >>> mesh = refspace.phantom(resolution=200).mesh("TH")
    >>> mesh.is_closed, round(mesh.volume, 1)
    (True, 15.1)
    """

    vertices: NDArray[np.float64]
    vertex_normals: NDArray[np.float64]
    face_vertices: NDArray[np.int64]
    face_normals: NDArray[np.int64]

    @property
    def volume(self) -> float:
        """Volume inside, in mm³; negative where triangles are clockwise, of an open mesh void."""
        return enclosed_volume(self.vertices, self.face_vertices) / _UM3_PER_MM3

    @property
    def bounds(self) -> NDArray[np.float64]:
        """Lowest and highest position along x, y and z, in µm (2 × 3)."""
        return np.stack([self.vertices.min(axis=0), self.vertices.max(axis=0)])

    @property
    def is_closed(self) -> bool:
        """Whether every edge is in two triangles, which run along it in opposite directions."""
        faces = self.face_vertices.astype(np.int64)
        edges = np.concatenate([faces, np.roll(faces, -1, axis=1)]).reshape(2, -1)
        count = len(self.vertices)
        there, back = (np.sort(edges[i] * count + edges[1 - i]) for i in (0, 1))
        return bool(np.array_equal(there, back) and not (there[1:] == there[:-1]).any())
