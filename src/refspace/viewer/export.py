"""Files with which any neuroglancer shows a store that is hosted anywhere: state, names, meshes."""

import json
from pathlib import Path
from typing import Any

from refspace.errors import FormatError
from refspace.files import atomic_write, make_folder
from refspace.safe_text import without_secrets
from refspace.types import PathLike
from refspace.verbs.space import Space
from refspace.viewer.segments import segment_properties
from refspace.viewer.state import ImageLayer, Scene, make_state, mesh_source
from refspace.viewer.volumes import contrast

PROPERTIES = "segment_properties"
MESHES = "meshes"
STATE = "state.json"
FILES = (STATE, f"{PROPERTIES}/info")
"""What is written, below the folder."""
# A template of more voxels is left out of the state: it would be read at one level alone.
_MOST_TEMPLATE = 2**27


def write_neuroglancer(
    space: Space, folder: PathLike, store_url: str, folder_url: str, *, with_meshes: bool = False
) -> str:
    """Write a state of neuroglancer for a store, and names, tags and colours of its structures.

    Parameters
    ----------
    space
        The space, as it is in the store: along its frame, at its finest level.
    folder
        Folder for ``state.json`` and ``segment_properties``; made if missing.
    store_url, folder_url
        URLs at which the store and this folder will be, for anybody; their server must allow CORS.
    with_meshes
        Whether the folder has meshes too, in ``meshes``, in neuroglancer's legacy format.

    Returns
    -------
    str
        What to add to the address of a neuroglancer: ``#!`` and the URL of the state.

    Raises
    ------
    FormatError
        If a URL is none of HTTP, or has a password or a key in it.
    WriteError
        If there is no space left, or no right to write.

    Examples
    --------
    >>> import refspace, tempfile
    >>> folder = tempfile.mkdtemp()
    >>> space = refspace.phantom(resolution=400)
    >>> write_neuroglancer(space, folder, "https://host/a.zarr", "https://host/look")
    '#!https://host/look/state.json'
    >>> state = json.loads(Path(folder, "state.json").read_text())
    >>> state["layers"][0]["source"][0]
    'zarr3://https://host/a.zarr/'
    """
    store, base = _public(store_url), _public(folder_url)
    sources: list[Any] = [f"zarr3://{store}/", f"precomputed://{base}/{PROPERTIES}"]
    if with_meshes:
        sources.append(mesh_source(f"precomputed://{base}/{MESHES}", space.grid))
    scene = Scene(space.grid, space.structure_tree, sources, images=_template(space, store))
    target = make_folder(folder)
    _write(make_folder(target / PROPERTIES) / "info", segment_properties(space.structure_tree))
    _write(target / STATE, make_state(scene))
    return f"#!{base}/{STATE}"


def _template(space: Space, store: str) -> list[ImageLayer]:
    """The finest template of a store that is small enough for one level."""
    for level, part in enumerate(space.levels):
        template, grid = part.template, part.grid
        if template is not None and template.size <= _MOST_TEMPLATE:
            rows = [
                [*(grid.spacing[row] if row == column else 0 for column in range(3)), corner]
                for row, corner in enumerate(grid.edges(dim)[0] for dim in grid.dims)
            ]
            dims = {dim: [1e-6, "m"] for dim in grid.dims}
            # Both have to be lengths: an array states none, and the client would see one voxel.
            transform = {"matrix": rows, "inputDimensions": dims, "outputDimensions": dims}
            source = {"url": f"zarr3://{store}/s{level}/template/", "transform": transform}
            return [ImageLayer("template", source, contrast(template))]
    return []


def _public(url: str) -> str:
    if not url.startswith(("http://", "https://")) or without_secrets(url) != url or "?" in url:
        raise FormatError(
            f"{without_secrets(url)} cannot be in a state for everybody; give a URL that begins "
            "with https:// and has no password or key"
        )
    return url.rstrip("/")


def _write(path: Path, value: Any) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(value), encoding="utf-8")
