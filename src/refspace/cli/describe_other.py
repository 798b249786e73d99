"""What files and stores are that are no annotation: images, masks, tables, structures, meshes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refspace.cli.describe import short_text, size_text
from refspace.cli.terminal import cell

if TYPE_CHECKING:
    import xarray as xr

    from refspace.structure_tree import StructureTree

# Names that a description lists.
_SHOWN = 8
_SPACE = ("ap", "dv", "ml")


def format_rows(title: str, rows: Mapping[str, object]) -> str:
    """Description as text: a title, and a line for each fact."""
    width = max(map(len, rows), default=0)
    lines = [f"{name:{width}}  {cell(value)}" for name, value in rows.items()]
    return "\n".join([title, "", *lines])


def listed(names: Sequence[object]) -> str:
    """The first of some names, and how many others there are."""
    more = [f"and {len(names) - _SHOWN} more"] if len(names) > _SHOWN else []
    return ", ".join([*map(str, names[:_SHOWN]), *more])


# ----- images and masks


def describe_image(url: str, image: "xr.DataArray") -> tuple[dict[str, Any], str]:
    """Facts about an image that no annotation can be: of any type, with other axes than space."""
    from refspace.labels import infer_grid

    others = [str(dim) for dim in image.dims if dim not in _SPACE]
    placed = {*_SPACE} <= {*map(str, image.coords)}
    grid = infer_grid(image.isel(dict.fromkeys(others, 0))) if placed else None
    details = {
        "url": url,
        "kind": "image",
        "dims": [str(dim) for dim in image.dims],
        "shape": list(image.shape),
        "dtype": image.dtype.name,
        "resolution_um": None if grid is None else list(grid.spacing),
        "orientation": None if grid is None else grid.orientation,
    }
    sizes = " × ".join(f"{dim} {count}" for dim, count in image.sizes.items())
    position = "states none; commands need --image-resolution, or --same-grid"
    rows = {
        "voxels": f"{sizes}, {image.dtype.name}",
        "resolution": position if grid is None else f"{short_text(grid.spacing)} µm",
        **({} if grid is None else {"orientation": grid.orientation}),
    }
    return details, format_rows(f"{url}: image, which 'refspace aggregate' takes", rows)


def describe_masks(url: str, **access: Any) -> tuple[dict[str, Any], str]:
    """Facts about a store of masks."""
    from refspace.store import Location
    from refspace.store.masks import open_stored_masks

    masks = open_stored_masks(url, access.get("storage_options") or {})
    array = masks.array.array
    names = [str(name) for name in masks.arrays["s0/acronym"].values()]
    folder = Location(url).local_path
    size = (
        None if folder is None else sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    )
    details = {
        "url": url,
        "kind": "masks",
        "structures": masks.structures,
        "acronyms": names,
        "shape": list(array.shape[1:]),
        "chunks": list(array.chunks),
        "shards": list(array.shards) if array.shards else None,
        "provenance": dict(masks.metadata["provenance"]),
        "stored_bytes": size,
    }
    rows = {
        "structures": f"{len(names)}: {listed(names)}",
        "voxels": f"{' × '.join(map(str, array.shape[1:]))} of each, bool",
        "chunks": short_text(array.chunks),
        "shards": short_text(array.shards) if array.shards else "none",
        "stored": size_text(size),
    }
    return details, format_rows(f"{url}: store of masks, for refspace.open_masks", rows)


# ----- tables, structures, meshes


def describe_table(url: str) -> tuple[dict[str, Any], str]:
    """Facts about a table, which is one of points where it has columns of positions."""
    from refspace.formats.tables import column_names, read_parts

    columns = column_names(url)
    rows = sum(len(part) for part in read_parts(url, as_text=True))
    axes = next((list(dims) for dims in (_SPACE, ("x", "y", "z")) if {*dims} <= {*columns}), [])
    details = {"url": url, "kind": "table", "columns": columns, "rows": rows, "positions": axes}
    text = {"rows": rows, "columns": f"{len(columns)}: {listed(columns)}"}
    use = "table"
    if axes:
        use = "table of points, which 'refspace points' takes"
        text["positions"] = ", ".join(axes)
    return details, format_rows(f"{url}: {use}", text)


def describe_structures(url: str, tree: "StructureTree") -> tuple[dict[str, Any], str]:
    """Facts about the structures of a file."""
    nodes = tree.nodes()
    roots = [node for node in nodes if len(node["structure_id_path"]) == 1]
    acronyms = [str(node.get("acronym") or node["id"]) for node in roots]
    depth = max(len(node["structure_id_path"]) for node in nodes)
    colored = sum(node.get("rgb_triplet") is not None for node in nodes)
    details = {
        "url": url,
        "kind": "structures",
        "structures": len(nodes),
        "roots": acronyms,
        "levels": depth,
        "largest_id": max(node["id"] for node in nodes),
        "colored": colored,
    }
    rows = {
        "structures": f"{len(nodes)} in {depth} levels; the largest id is {details['largest_id']}",
        "roots": f"{len(roots)}: {listed(acronyms)}",
        "colours": f"of {colored}",
    }
    return details, format_rows(f"{url}: structures, which 'refspace tree' draws", rows)


def describe_mesh(url: str) -> tuple[dict[str, Any], str]:
    """Facts about a surface mesh."""
    from refspace.formats.meshes import read_mesh

    mesh = read_mesh(url)
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    details = {
        "url": url,
        "kind": "mesh",
        "vertices": len(mesh.vertices),
        "triangles": len(mesh.face_vertices),
        "lowest": low.tolist(),
        "highest": high.tolist(),
        "stored_bytes": Path(url).stat().st_size,
    }
    spans = ", ".join(f"{a:g} to {b:g}" for a, b in zip(low, high, strict=True))
    rows = {
        "vertices": len(mesh.vertices),
        "triangles": len(mesh.face_vertices),
        "positions": f"{spans} along its axes, in µm if it is of refspace or the Allen Institute",
        "stored": size_text(details["stored_bytes"]),
    }
    return details, format_rows(f"{url}: surface mesh", rows)
