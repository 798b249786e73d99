"""What a store is, in words and as JSON values."""

import math
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

from refspace.cli.terminal import cell
from refspace.grid import Grid
from refspace.labels import Midline, midline_in_frame, resolve_midline
from refspace.store import StoredAtlas
from refspace.verbs.unknown import UnknownIds


def describe(
    atlas: StoredAtlas,
    *,
    frame: str | None = None,
    midline: float | None = None,
    hemispheres: str | None = None,
) -> dict[str, Any]:
    """Facts about a store as JSON values; no voxel is read.

    Parameters
    ----------
    atlas
        The store.
    frame
        Frame of coordinates, if not that of the store.
    midline, hemispheres
        What tells the hemispheres apart instead of what the store states.
    """
    grid, details = atlas.levels[0].grid, atlas.metadata or {}
    structures = atlas.structures
    own = "in the store" if atlas.hemispheres and midline is None else None
    return {
        "url": atlas.location.name,
        "kind": "foreign" if atlas.metadata is None else "refspace",
        "format": details.get("format"),
        "ome_zarr": atlas.version,
        "levels": _levels(atlas),
        "extent_mm": [length / 1000 for length in grid.extent],
        **describe_axes(grid, frame),
        **describe_sides(
            grid, atlas.line, frame=frame, midline=midline, volume=hemispheres, own=own
        ),
        "label_index": _label_index(atlas),
        "structures": None if structures is None else len(structures),
        "structures_with_voxels": _with_voxels(atlas),
        "unknown_ids": _unknown_ids(atlas),
        "template": bool(atlas.template),
        "provenance": atlas.provenance,
        "digest": details.get("digest"),
        "stored_bytes": stored_bytes(atlas),
    }


def describe_axes(grid: Grid, frame: str | None = None) -> dict[str, Any]:
    """Where a volume is and how its axes run, as JSON values.

    Parameters
    ----------
    grid
        Grid of the volume.
    frame
        Frame of coordinates, if not that of the grid.
    """
    grid = grid.in_frame(frame or grid.frame)
    return {
        "origin_um": list(grid.origin),
        "orientation": grid.orientation,
        "directions": {dim: grid.direction(dim) for dim in grid.dims},
        "frame": grid.frame,
        "frame_directions": {dim: grid.frame_direction(dim) for dim in grid.frame_dims},
    }


def describe_sides(
    grid: Grid,
    stated: Midline | None,
    *,
    frame: str | None = None,
    midline: float | None,
    volume: str | None,
    own: str | None = None,
) -> dict[str, Any]:
    """What tells hemispheres apart, as JSON values; a volume that does not fit is refused.

    Parameters
    ----------
    grid, stated
        Grid of a volume, and the midline that it states.
    frame
        Frame of coordinates, if not that of the grid.
    midline
        Position of the midline that is given instead.
    volume
        Path or URL of a volume of hemispheres, that decides instead.
    own
        Where the hemispheres are that decide if nothing is given.
    """
    if volume is not None:
        from refspace.reference_space.opening import read_hemispheres

        read_hemispheres(volume, grid)
    if volume is not None or own is not None:
        return {"hemispheres_from": volume or own, "midline_um": None, "midline_from": None}
    target = grid.in_frame(frame or grid.frame)
    known = None if stated is None else midline_in_frame(stated, grid, target)
    line = resolve_midline(midline, known, target)
    return {
        "hemispheres_from": "midline",
        "midline_um": line.position,
        "midline_from": line.source,
    }


def format_sides(details: dict[str, Any]) -> str:
    """What tells hemispheres apart, as `describe_sides` gives it, as text."""
    if details["midline_um"] is None:
        return f"none; a volume of hemispheres decides, {details['hemispheres_from']}"
    return str(Midline(details["midline_um"], details["midline_from"]))


def _levels(atlas: StoredAtlas) -> list[dict[str, Any]]:
    return [
        {
            "path": level.path,
            "resolution_um": list(level.grid.spacing),
            "shape": list(level.array.shape),
            "dtype": level.array.dtype.name,
            "chunks": list(level.array.array.chunks),
            "shards": list(level.array.array.shards) if level.array.array.shards else None,
        }
        for level in (*atlas.levels, *atlas.template)
    ]


def _label_index(atlas: StoredAtlas) -> dict[str, Any] | None:
    """Label index of the finest level: where it is, and how far it is proven to be of the image.

    None where there is none. One that does not fit has no proof.
    """
    kept = atlas.levels[0].kept
    if kept is None and atlas.metadata is None:
        return None
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        index = atlas.index(0)
    if index is None:
        # The warning says why; without one there is nothing that could not be used.
        return {"place": None, "proof": None, "fault": str(told[0].message)} if told else None
    found = None if kept is None else kept.found()
    if found is None:
        return {"place": "in the store", "proof": "proven by its digest"}
    return {"place": f"{found.place.name}, {found.place.words}", "proof": str(found.proof)}


def _with_voxels(atlas: StoredAtlas) -> int | None:
    """Number of structures of which a voxel is there, theirs or a descendant's."""
    labels = label_counts(atlas)
    if labels is None or atlas.structures is None:
        return None
    numbering = atlas.structures.numbering
    there = numbering.parents.keys() & labels
    return len({above for i in there for above in numbering.ancestors(i)})


def _unknown_ids(atlas: StoredAtlas) -> list[int] | None:
    """Ids that the volume holds and the structures lack."""
    labels = label_counts(atlas)
    return (
        None if labels is None else list(UnknownIds.from_labels(labels, structure_ids(atlas)).ids)
    )


def structure_ids(atlas: StoredAtlas) -> list[int]:
    """Ids of the structures of a store; none of one that has no structures."""
    return [] if atlas.structures is None else [*atlas.structures.numbering.parents]


def label_counts(atlas: StoredAtlas) -> dict[int, int] | None:
    """Number of voxels of each label; None where there is no index, or there are no structures."""
    index = atlas.index(0)
    return None if index is None or atlas.structures is None else index.counts()


def stored_bytes(atlas: StoredAtlas) -> int | None:
    """Bytes of all files of a store on this machine; of another, those of voxels, if recorded.

    None where it would take too many requests to know.
    """
    if (folder := atlas.location.local_path) is not None:
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    # Of records in many parts, all would have to be read.
    if atlas.metadata is None or atlas.are_records_in_parts:
        return None
    volumes = {"annotation": atlas.levels, "template": atlas.template}
    return sum(
        int(atlas.stored_bytes(number, name).sum())
        for name, levels in volumes.items()
        for number in range(len(levels))
    )


# ----- in words


def format_description(details: dict[str, Any]) -> str:
    """Facts, as `describe` gives them, as text."""
    rows = {
        "extent": f"{_times(f'{length:g}' for length in details['extent_mm'])} mm",
        **format_axes(details),
        "midline": format_sides(details),
        "structures": _structures(details),
        "label index": _index_text(details["label_index"]),
        "template": "yes" if details["template"] else "none",
        **{f"provenance, {cell(k)}": cell(value) for k, value in details["provenance"].items()},
        "digest": details["digest"] or "none",
        "stored": size_text(details["stored_bytes"]),
    }
    width = max(map(len, rows))
    lines = [f"{name:{width}}  {value}" for name, value in rows.items()]
    return "\n".join([_title(details), "", *_table(details["levels"]), "", *lines])


def format_axes(details: dict[str, Any]) -> dict[str, str]:
    """Rows on where a volume is and how its axes run, as `describe_axes` gives it."""
    ways = [f"{dim} grows to {end}" for dim, end in details["directions"].items()]
    frame = [f"{dim} to {end}" for dim, end in details["frame_directions"].items()]
    return {
        "orientation": f"{details['orientation']}: {', '.join(ways)}",
        "frame": f"{details['frame']}: coordinates grow along {', '.join(frame)}",
        "origin": f"{', '.join(f'{corner:g}' for corner in details['origin_um'])} µm",
    }


def _index_text(found: dict[str, Any] | None) -> str:
    if found is None:
        return "none; 'refspace index' makes one"
    if found["proof"] is None:
        return f"none that fits: {found['fault']}"
    return f"{found['place']}; {found['proof']}"


def _title(details: dict[str, Any]) -> str:
    if details["kind"] == "refspace":
        return f"{details['url']}: store of refspace, format {details['format']} (OME-Zarr 0.5)"
    if details["ome_zarr"].startswith("none"):
        return f"{details['url']}: array without metadata of OME-Zarr ({details['ome_zarr'][6:]})"
    return f"{details['url']}: label image of OME-Zarr {details['ome_zarr']}, not of refspace"


def _structures(details: dict[str, Any]) -> str:
    if details["structures"] is None:
        return "none stated; commands need a STRUCTURES file"
    if details["structures_with_voxels"] is None:
        return str(details["structures"])
    text = f"{details['structures']}, {details['structures_with_voxels']} of them with voxels"
    unknown = len(details["unknown_ids"])
    return f"{text}; {unknown} unknown ids in the volume" if unknown else text


def _table(levels: Sequence[dict[str, Any]]) -> list[str]:
    head = ("level", "resolution", "shape", "dtype", "chunks", "shards")
    rows = [
        (
            level["path"] or "(root)",
            f"{short_text(level['resolution_um'])} µm",
            _times(level["shape"]),
            level["dtype"],
            short_text(level["chunks"]),
            short_text(level["shards"]) if level["shards"] else "none",
        )
        for level in levels
    ]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return [
        "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (head, *rows)
    ]


def _times(numbers: Iterable[object]) -> str:
    return " × ".join(map(str, numbers))


def short_text(numbers: Sequence[float]) -> str:
    """One number where all are the same."""
    return _times(f"{n:g}" for n in (numbers[:1] if len(set(numbers)) == 1 else numbers))


def size_text(size: int | None) -> str:
    """Bytes for people."""
    if size is None:
        return "size not recorded"
    power = min(int(math.log10(max(size, 1))) // 3, 4)
    return f"{size / 1000**power:.3g} {('bytes', 'kB', 'MB', 'GB', 'TB')[power]}"
