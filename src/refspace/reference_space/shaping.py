"""Verbs that measure shapes: boxes, surfaces, neighbours, distances."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import networkx as nx
import numpy as np
import xarray as xr

from refspace.blockwise.reduction import array_from_value
from refspace.errors import GridError
from refspace.grid import Hemisphere
from refspace.ops.contacts import Contacts, contacts
from refspace.ops.distance import BYTES_PER_VOXEL, signed_distance
from refspace.reference_space.locating import Locating
from refspace.reference_space.tables import table_of
from refspace.structure_tree import Level, Regions


class Shaping(Locating):
    """Where regions lie, what they border on, and how far it is to their borders."""

    def geometry(
        self,
        structures: Any = None,
        *,
        level: Level | None = None,
        structure_set: int | Sequence[int] | None = None,
        direct_only: bool = False,
        hemisphere: Hemisphere | None = None,
    ) -> xr.Dataset:
        """Size and place of many regions, as a table.

        Parameters
        ----------
        structures, level, structure_set, direct_only
            As for `parcellation`.
        hemisphere
            ``"left"`` or ``"right"``, where only what lies there is asked for.

        Returns
        -------
        xarray.Dataset
            Over ``structure``: ``voxels``; ``volume`` in mm³; and in µm ``ap_min``, ``ap_max``,
            the outer edges of the bounding box, and ``ap_centroid``, the mean position, and so on
            for ``dv`` and ``ml``: NaN of regions without voxels. From the label index where that is
            known, otherwise lazy, and all of it in one pass.

        Raises
        ------
        OntologyError, StructureNotFoundError
            As for `parcellation`.
        GridError
            If there is no such hemisphere.

        Examples
        --------
        >>> import refspace
        >>> space = refspace.phantom(resolution=200)
        >>> table = space.geometry(["VISp", "TH"]).compute()
        >>> table.dv_min.values, table.dv_max.values
        (array([ 600., 2800.]), array([2600., 5400.]))
        """
        regions = self.parcellation(
            structures, level=level, structure_set=structure_set, direct_only=direct_only
        )
        side = self._part(hemisphere)
        rows = side._geometry(regions)
        dims = self.grid.dims
        variables: dict[str, Any] = {
            "voxels": ("structure", rows[0].astype(np.int64)),
            "volume": ("structure", rows[1], {"units": "mm3"}),
        }
        parts = [f"{dim}_{part}" for dim in dims for part in ("min", "max", "centroid")]
        for name, row in zip(parts, rows[2:], strict=True):
            variables[name] = ("structure", row, {"units": "micrometer"})
        return table_of(regions, variables, _attrs(hemisphere))

    # ----- surfaces

    @functools.cached_property
    def _contacts(self) -> Contacts:
        """Faces between all labels: one pass, whatever the tree."""
        found: Contacts = contacts(self._annotation, self._block_labels).compute()
        return found

    def surface_area(
        self,
        structures: Any = None,
        *,
        level: Level | None = None,
        structure_set: int | Sequence[int] | None = None,
        direct_only: bool = False,
        hemisphere: Hemisphere | None = None,
    ) -> xr.DataArray:
        """Area of the border of many regions: of the voxel faces to anything else.

        The ends of the volume are borders too, and so is the midline where a hemisphere is asked
        for. The area is exact for the voxels, whose faces are steps: of the smooth surface that
        they sample it is 1.5 times the area if that runs in all directions alike, and √3 times at
        worst.

        Parameters
        ----------
        structures, level, structure_set, direct_only, hemisphere
            As for `geometry`.

        Returns
        -------
        xarray.DataArray
            mm² over ``structure``; regions may overlap. Lazy, unless `adjacency` has counted the
            faces before: one pass for all regions, which reads no block that is known to hold none
            of them.

        Raises
        ------
        OntologyError, StructureNotFoundError, GridError
            As for `geometry`.

        Examples
        --------
        >>> import refspace
        >>> space = refspace.phantom(resolution=200)
        >>> areas = space.surface_area(["Isocortex", "VISp"]).compute()
        >>> bool(areas.sel(structure=315) > areas.sel(structure=385))
        True
        """
        regions = self.parcellation(
            structures, level=level, structure_set=structure_set, direct_only=direct_only
        )
        surfaces = self._part(hemisphere)._surfaces(regions)
        attrs = {"units": "mm2", "long_name": "area of voxel faces to anything else"}
        variables = {"surface_area": ("structure", surfaces, attrs | _attrs(hemisphere))}
        return table_of(regions, variables)["surface_area"]

    def _surfaces(self, regions: Regions) -> Any:
        """Area of the border of each region: values where faces were counted, else lazy."""
        spacing = self.grid.spacing
        if "_contacts" in self.__dict__:
            return self._contacts.surfaces(regions, spacing)
        counted = contacts(self._annotation, self._block_labels, regions.structures.tolist())
        measure = functools.partial(
            Contacts.surfaces, regions=regions.without_names(), spacing=spacing
        )
        return array_from_value(counted, measure, (len(regions),), np.float64)

    def adjacency(
        self,
        structures: Any = None,
        *,
        level: Level | None = None,
        structure_set: int | Sequence[int] | None = None,
        hemisphere: Hemisphere | None = None,
    ) -> "nx.Graph[Any]":
        """Which regions border on which.

        The first call reads the volume once and counts the faces between all labels, which are
        remembered: other regions, or another tree, read nothing.

        Parameters
        ----------
        structures, level, structure_set
            As for `parcellation`; but if none of them is given, each structure is taken for itself,
            without its descendants. Voxels of several regions are those of the nearest: of a
            structure and its parent, the parent has what is left.
        hemisphere
            ``"left"`` or ``"right"``, where only what lies there is asked for.

        Returns
        -------
        networkx.Graph
            A node for each region that has voxels: its label, with attributes ``acronym`` and
            ``name`` (where the regions are structures) and ``volume`` in mm³. An edge between
            regions that share voxel faces, with their ``area`` in mm². What is outside is no node.

        Raises
        ------
        OntologyError, StructureNotFoundError, GridError
            As for `geometry`.

        Examples
        --------
        >>> import refspace
        >>> space = refspace.phantom(resolution=200)
        >>> graph = space.adjacency(level=2)
        >>> sorted(graph.nodes[i]["acronym"] for i in graph[512])  # the neighbours of CB
        ['AQ', 'BS', 'CH', 'V4', 'cbf']
        """
        bare = structures is None and level is None and structure_set is None
        regions = self.parcellation(
            structures, level=level, structure_set=structure_set, direct_only=bare
        )
        side = self._part(hemisphere)
        found, grid = side._contacts, side.grid
        numbers = regions.region_index(found.labels)
        known = numbers >= 0
        voxels = np.zeros(len(regions), np.int64)
        np.add.at(voxels, numbers[known], found.voxels[known])
        graph: nx.Graph[Any] = nx.Graph()
        for number in np.flatnonzero(voxels).tolist():
            names = (
                {"acronym": regions.acronyms[number], "name": regions.names[number]}
                if regions.acronyms
                else {}
            )
            volume = float(voxels[number] * grid.voxel_volume)
            graph.add_node(regions.labels[number], **names, volume=volume)
        for one, other, area in found.between(regions, grid.spacing):
            graph.add_edge(regions.labels[one], regions.labels[other], area=area)
        return graph

    # ----- distances

    def distance(
        self,
        structures: Any,
        *,
        direct_only: bool = False,
        hemisphere: Hemisphere | None = None,
        pad: float | Sequence[float] = 0,
        max_bytes: int = 4 * 2**30,
    ) -> xr.DataArray:
        """Distance of voxels to the border of the union of some structures.

        It is that from the centre of a voxel to the nearest centre on the other side of the border:
        at least a voxel's width.

        Parameters
        ----------
        structures
            The structures.
        direct_only
            Whether to leave out their descendants.
        hemisphere
            ``"left"`` or ``"right"``, where only what lies there is inside.
        pad
            µm around the bounding box, as for `crop`.
        max_bytes
            Memory that the transform may take.

        Returns
        -------
        xarray.DataArray
            float32, µm: positive inside, negative outside, over the padded bounding box; what
            lies beyond the ends of the volume counts as outside. Lazy, of one chunk: a transform is
            of a whole.

        Raises
        ------
        StructureNotFoundError, AnnotationError
            As for `bounds`.
        GridError
            If the transform would take more memory than it may, or as for `crop`.
        MissingDependencyError
            If scipy is not installed.

        Examples
        --------
        >>> import refspace
        >>> space = refspace.phantom(resolution=200)
        >>> depth = space.distance("TH", hemisphere="left", pad=400)
        >>> round(float(depth.max()))  # in its middle
        980
        """
        ids = self.structure_tree.resolve(structures)
        part = self.crop(ids, pad=pad, direct_only=direct_only, hemisphere=hemisphere)
        needed = math.prod(part.grid.shape) * BYTES_PER_VOXEL
        if needed > max_bytes:
            raise GridError(
                f"distances over {part.grid.shape} voxels take {needed / 2**30:.1f} GiB, more than "
                f"the {max_bytes / 2**30:.1f} GiB of max_bytes; downsample first, take one "
                "hemisphere or a smaller pad, or allow more"
            )
        mask = part.make_structure_mask(ids, direct_only, hemisphere=hemisphere)
        found = signed_distance(mask, part.resolution)
        return found.assign_attrs(structure_ids=ids, **_attrs(hemisphere))


def _attrs(hemisphere: Hemisphere | None) -> dict[str, str]:
    return {} if hemisphere is None else {"hemisphere": hemisphere}
