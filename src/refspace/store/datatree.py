"""An atlas as an xarray DataTree, laid out as a store is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import xarray as xr

from refspace.errors import FormatError
from refspace.grid import Grid
from refspace.labels import Midline, infer_grid, resolve_midline
from refspace.labels.midline import STATED_BY_STORE
from refspace.store import ome
from refspace.store.digests import FORMAT
from refspace.store.levels import find_level
from refspace.store.tables import structures_dataset


def make_datatree(
    levels: Sequence[Mapping[str, xr.DataArray]],
    nodes: Sequence[Mapping[str, Any]],
    provenance: Mapping[str, Any],
    midline: Midline,
) -> xr.DataTree:
    """DataTree of an atlas; what is lazy stays so.

    Parameters
    ----------
    levels
        ``annotation``, and ``template`` and ``hemispheres`` where there are any, of each level,
        the finest first.
    nodes, provenance, midline
        What a store holds beside its voxels.
    """
    paths = {
        name: [
            (f"s{level}/{name}", infer_grid(volumes[name]))
            for level, volumes in enumerate(levels)
            if name in volumes
        ]
        for name in levels[0]
    }
    ome_metadata = ome.label_attributes(
        "annotation",
        paths["annotation"],
        nodes,
        template=paths.get("template", ()),
        hemispheres=paths.get("hemispheres", ()),
    )
    datasets = {f"s{level}": _dataset(volumes) for level, volumes in enumerate(levels)}
    datasets["structures"] = structures_dataset(nodes)
    metadata = {"format": FORMAT, "provenance": dict(provenance)}
    metadata |= {"midline": midline.position, "midline_from": midline.source}
    root = xr.Dataset(attrs={"ome": ome_metadata, "refspace": metadata})
    return xr.DataTree.from_dict({"/": root, **datasets})


def _dataset(volumes: Mapping[str, xr.DataArray]) -> xr.Dataset:
    """Volumes side by side; xarray would widen them where centres differ in the last digit."""
    # The midline says it too, and not every program reads strings from zarr.
    plain = {name: v.drop_vars("hemisphere", errors="ignore") for name, v in volumes.items()}
    centres = plain["annotation"].coords
    return xr.Dataset({name: volume.assign_coords(centres) for name, volume in plain.items()})


@dataclass(frozen=True)
class TreeLevel:
    """What a DataTree holds at one resolution."""

    annotation: xr.DataArray
    template: xr.DataArray | None
    hemispheres: xr.DataArray | None
    nodes: list[dict[str, Any]]
    provenance: dict[str, Any]
    midline: Midline

    @classmethod
    def from_datatree(
        cls, tree: xr.DataTree, resolution: float | Sequence[float] | None
    ) -> "TreeLevel":
        """Level of a DataTree, as `make_datatree` makes it or `xarray.open_datatree` opens it.

        Raises
        ------
        FormatError
            If it is not the tree of an atlas.
        GridError
            If it has no level of the resolution.
        """
        attributes = {str(name): value for name, value in tree.attrs.items()}
        metadata = attributes.get("refspace")
        if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
            raise FormatError(
                "the DataTree is not that of a reference space: its attributes lack 'refspace'; "
                "give one that to_datatree() made, or xarray.open_datatree() of a store of refspace"
            )
        paths = [dataset.path for dataset in ome.read_multiscale(attributes).datasets]
        try:
            volumes = [_chunked(tree[path]) for path in paths]
        except KeyError as error:
            raise FormatError(
                f"the DataTree lacks one of {', '.join(paths)}; give it whole, and choose one with "
                "resolution="
            ) from error
        grids = [infer_grid(volume) for volume in volumes]
        level = find_level(grids, resolution, "the DataTree")
        node = tree[paths[level].rpartition("/")[0]]
        template, hemispheres = (
            _chunked(node[name]) if name in node else None for name in ("template", "hemispheres")
        )
        return cls(
            volumes[level],
            template,
            hemispheres,
            ome.nodes_from_label(attributes),
            dict(metadata.get("provenance") or {}),
            _midline(metadata, grids[0]),
        )


def _midline(metadata: Mapping[str, Any], grid: Grid) -> Midline:
    """Midline that a tree states, else the middle of its finest level."""
    stated = metadata.get("midline")
    source = str(metadata.get("midline_from", STATED_BY_STORE))
    return resolve_midline(
        None, None if stated is None else Midline.from_value(stated, source), grid
    )


def _chunked(array: Any) -> xr.DataArray:
    """Array as blocks of the store it comes from: without dask it would be read as a whole."""
    if array.variable._in_memory or array.chunks is not None:
        return array  # type: ignore[no-any-return]
    return array.chunk(array.encoding.get("preferred_chunks", {}))  # type: ignore[no-any-return]
