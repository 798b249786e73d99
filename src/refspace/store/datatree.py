"""An atlas as an xarray DataTree, laid out as a store is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from refspace.errors import FormatError, GridError
from refspace.grid import Grid, parse_spacing
from refspace.labels import Midline, infer_grid, resolve_midline
from refspace.labels.midline import STATED_BY_STORE
from refspace.store import ome
from refspace.store.metadata import FORMAT
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


def find_level(grids: Sequence[Grid], resolution: float | Sequence[float] | None, name: str) -> int:
    """Level of a resolution in µm, the finest if None, among levels on some grids.

    Raises
    ------
    GridError
        If there is no such level. The message calls the whole by the name and lists its levels.
    """
    if resolution is None:
        return 0
    wanted = parse_spacing(resolution)
    for level, grid in enumerate(grids):
        if np.allclose(grid.spacing, wanted, rtol=1e-6):
            return level
    there = ", ".join(_format_spacing(grid.spacing) for grid in grids)
    raise GridError(
        f"{name} has no level of {_format_spacing(wanted)} µm; it has {there} µm: open one of "
        f"these, and downsample it{_other_unit(grids[0].spacing, wanted)}"
    )


def _other_unit(stated: Sequence[float], wanted: Sequence[float]) -> str:
    """Hint for lengths that are wrong by a unit, or were scaled by ten."""
    for factor in (1000, 10):
        for first, second, more in ((stated, wanted, "more"), (wanted, stated, "less")):
            if np.allclose(first, [factor * length for length in second], rtol=1e-6):
                return (
                    f"; or, as it states {factor} times {more} than that, correct the unit or the "
                    "scale in its metadata"
                )
    return ""


def _format_spacing(spacing: Sequence[float]) -> str:
    one = len(set(spacing)) == 1
    return " × ".join(f"{step:g}" for step in (spacing[:1] if one else spacing))
