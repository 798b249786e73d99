"""Meshes of many structures as one job: a file of each, or a folder for Neuroglancer.

Each mesh is made by itself, from the chunks of its bounding box::

    FOLDER/structure_385.obj                  the mesh; for Neuroglancer 385.mesh, 385:0 and info
    FOLDER/.refspace/structure_385.obj.json   its checksum
"""

import functools
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import dask
import xarray as xr
from dask.tokenize import tokenize

from refspace.batch.causes import one_line, raise_if_hopeless
from refspace.batch.output_files import (
    OutputFile,
    exclusive_folder,
    is_proven,
    record_digest,
    recorded_digest,
)
from refspace.blockwise.content_identity import Identity
from refspace.blockwise.identity import array_identity, refuse_changed
from refspace.errors import AnnotationError, FormatError, JobError, OntologyError, StoreError
from refspace.formats.meshes import (
    INFO,
    encode_fragment,
    encode_mesh,
    neuroglancer_info,
    neuroglancer_manifest,
)
from refspace.kernels import SURFACE_METHOD
from refspace.pools import Pool, make_pool
from refspace.reference_space import ReferenceSpace
from refspace.reference_space import open as open_space
from refspace.store import Location, Progress
from refspace.store.masks import write_whole
from refspace.store.staging import WriteLease, job_digest
from refspace.structure_tree import Regions, RegionsLike
from refspace.structure_tree.colors import node_color
from refspace.structure_tree.file_names import FileNames, file_stems, unfinished_pattern
from refspace.types import PathLike
from refspace.verbs.meshes import SMOOTHING, check_smoothing, cropped_mask, mesh_from_mask

if TYPE_CHECKING:
    from refspace.pools.choosing import Client

MeshFormat = Literal["obj", "ply", "stl", "glb", "neuroglancer"]
FORMATS = ("obj", "ply", "stl", "glb", "neuroglancer")
_NEUROGLANCER = "neuroglancer"
# What `atomic_write` adds to the name of a file, or of its record, while it writes.
_WHILE_WRITTEN = r"(\.(obj|ply|stl|glb))?"
# Names of what Neuroglancer reads.
_NEUROGLANCER_STEMS = r"\d+(\.mesh)?|\d+:0|info"


@dataclass(frozen=True)
class MeshesWritten:
    """Result of `write_meshes`.

    Parameters
    ----------
    path
        Where the meshes are.
    structures
        Ids of the structures that have one.
    written
        Number of meshes that were written.
    kept
        Number of those that were there already, with the right content.
    empty
        Ids of structures that were asked for and have no voxels, and so no mesh.
    """

    path: str
    structures: tuple[int, ...]
    written: int
    kept: int
    empty: tuple[int, ...] = ()


@dataclass(frozen=True)
class _MeshTask:
    """A mesh to be made: its file, its mask, and the name and colour that the file states."""

    file: OutputFile
    mask: xr.DataArray
    name: str
    color: tuple[int, ...]


@dataclass(frozen=True)
class _TaskOptions:
    """What all meshes of a job have in common."""

    format: MeshFormat
    smoothing: int
    folder: Location
    overwrite: bool
    lease: WriteLease


def write_meshes(
    space: ReferenceSpace | PathLike,
    out: PathLike,
    regions: RegionsLike | None = None,
    *,
    format: MeshFormat = "obj",
    smoothing: int = SMOOTHING,
    names: FileNames = "id",
    overwrite: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    threads: int | None = None,
    client: "Client | None" = None,
    progress: Progress | None = None,
) -> MeshesWritten:
    """Write meshes of many structures, each from the chunks of its bounding box.

    A run that was stopped, by whatever, is continued by the same call. Existing files are reused
    only if their checksums match, and they were made of the same voxels in the same way.

    Parameters
    ----------
    space
        The annotation and its structures, of both hemispheres or of one; or the path or URL of a
        store. Workers of a cluster read the store or file by themselves; an array in memory is sent
        to them.
    out
        Folder, or URL of one, for a file of each structure, named ``structure_385.obj`` as masks
        are; for Neuroglancer a folder in its format, which a server then shows.
    regions
        The structures, or what `StructureTree.regions` makes of them; all that have voxels if not
        given.
    format
        ``"obj"``, ``"ply"``, ``"stl"`` or ``"glb"``, of which PLY and GLB have the structures'
        colours; or ``"neuroglancer"``.
    smoothing
        As for `ReferenceSpace.mesh`.
    names
        As for `write_masks`; Neuroglancer has ids.
    overwrite
        Whether to replace what is there and is something else.
    storage_options
        What fsspec needs to reach `out`.
    threads, client
        As for `write_masks`.
    progress
        Called with the numbers of meshes done and to be done.

    Returns
    -------
    MeshesWritten
        How many meshes were written, and how many were there.

    Raises
    ------
    StructureNotFoundError, OntologyError
        If there is no such structure, or none at all.
    AnnotationError
        If none of them has a voxel.
    GridError, FormatError
        If there is no such smoothing or format.
    MissingDependencyError
        If scikit-image or trimesh is not installed.
    StoreError
        If `out` is there and is something else, or is being written.
    WriteError
        If there is no space left, or no right to write.
    JobError
        If some meshes failed; the others are done, and not done again.
    SourceError
        If both `threads` and `client` are given.
    ClusterError
        If the scheduler is gone; what was done is not done again.

    Examples
    --------
    >>> import refspace, tempfile
    >>> space, folder = refspace.phantom(resolution=400), tempfile.mkdtemp()
    >>> write_meshes(space, folder, ["VISp", "TH"]).written
    2
    >>> write_meshes(space, folder, ["VISp", "TH"]).kept
    2
    """
    pool = make_pool(threads, client)
    if format not in FORMATS:
        raise FormatError(f"format is {format!r}; there are {', '.join(FORMATS)}")
    check_smoothing(smoothing)
    if not isinstance(space, ReferenceSpace):
        space = open_space(space)
    chosen, empty = _with_voxels(space, regions)
    voxels = array_identity(space.annotation.data)
    stems = file_stems(space.structure_tree.nodes(), names)
    request = _MeshRequest(space, chosen, format, smoothing, voxels, stems)
    files = request.files()
    location = Location(os.fspath(out), storage_options or {})
    unfinished = unfinished_pattern(stems.values(), _WHILE_WRITTEN, _NEUROGLANCER_STEMS)
    with exclusive_folder(location, "meshes", unfinished) as lease:
        missing = [file for file in files if not is_proven(location, file)]
        options = _TaskOptions(format, smoothing, location, overwrite, lease)
        _write(request, missing, options, pool, progress, len(files))
        if format == _NEUROGLANCER:
            _complete_folder(location, chosen, overwrite)
    ids = tuple(file.structure for file in files)
    return MeshesWritten(location.url, ids, len(missing), len(files) - len(missing), empty)


def _with_voxels(
    space: ReferenceSpace, asked: RegionsLike | None
) -> tuple[Regions, tuple[int, ...]]:
    """Regions that have voxels, and the labels of those that have none."""
    if asked is None:
        asked = [i for i, count in space.total_voxel_map.items() if count > 0]
    regions = space.structure_tree.regions(asked)
    if not len(regions):
        raise OntologyError("no structures are asked for; name one at least")
    if not regions.acronyms:
        raise OntologyError(
            "files of meshes are named by structures, and a mapping has labels of its own: give "
            "structures, or write what ReferenceSpace.mesh makes by write_mesh"
        )
    counts = space.volume.label_counts
    full: list[int] = []
    empty: list[int] = []
    for region_index, label in enumerate(regions.labels):
        members = regions.structures_in(region_index).tolist()
        (full if any(counts.get(i) for i in members if i) else empty).append(int(label))
    if not full:
        raise AnnotationError(
            f"none of {len(empty)} structures has voxels here, and so a surface; total_voxel_map "
            "says which have"
        )
    return regions.select(full), tuple(empty)


def _shown(space: ReferenceSpace, structure: int) -> tuple[str, tuple[int, ...]]:
    """Name and colour of a structure, as files state them."""
    (node,) = space.structure_tree.nodes([structure])
    return str(node.get("acronym") or structure), tuple(node_color(node))


@dataclass(frozen=True)
class _MeshRequest:
    """Meshes to be written, of which none is made yet, and the voxels as they are when asked."""

    space: ReferenceSpace
    regions: Regions
    format: MeshFormat
    smoothing: int
    voxels: Identity
    stems: Mapping[int, str]

    def files(self) -> list[OutputFile]:
        """Files of all meshes, each with its name and its digest."""
        grid, sides = self.space.grid, self.space.volume.hemispheres
        separation = dict(sides.attrs or sides.separation)
        common = {
            "kind": "meshes",
            "grid": [grid.spacing, grid.origin, grid.orientation, grid.frame, grid.shape],
            "voxels": str(self.voxels.facts.get("voxels")),
            "sides": [separation.get("hemisphere"), separation.get("midline")],
            "format": [self.format, self.smoothing, SURFACE_METHOD],
        }
        files = []
        for label in map(int, self.regions.labels):
            shown = _shown(self.space, label)
            digest = job_digest({**common, "members": self.members(label), "shown": shown})
            is_mesh = self.format == _NEUROGLANCER
            name = f"{label}.mesh" if is_mesh else f"{self.stems[label]}.{self.format}"
            # Of voxels that may have changed unseen, no file is known to hold the mesh.
            files.append(OutputFile(label, name, digest if self.voxels.is_proven else ""))
        return files

    def members(self, label: int) -> list[int]:
        """Labels of the voxels of a structure."""
        members: list[int] = self.regions.structures_in(self.regions.labels.index(label)).tolist()
        return members

    def tasks(self, files: Sequence[OutputFile]) -> Iterator[_MeshTask]:
        """Meshes of some files, whose masks are planned one after the other."""
        for file in files:
            mask = cropped_mask(self.space, self.members(file.structure), direct_only=True)
            # Without the rest of the graph, for other processes.
            mask = mask.copy(data=dask.optimize(mask.data)[0])
            yield _MeshTask(file, mask, *_shown(self.space, file.structure))

    def refuse_changed(self) -> None:
        """Refuse an annotation that has changed since the meshes were asked for."""
        now = array_identity(self.space.annotation.data)
        refuse_changed({"annotation": self.voxels}, {"annotation": now})


def _write(
    request: _MeshRequest,
    files: Sequence[OutputFile],
    options: _TaskOptions,
    pool: Pool,
    progress: Progress | None,
    total: int,
) -> None:
    """Write the files of some meshes; failures are raised together at the end."""
    done: list[OutputFile] = []
    failures: dict[str, str] = {}
    kept, url, run = total - len(files), options.folder.url, options.lease.run
    if progress is not None:
        progress(kept, total)
    outcomes = pool.outcomes(
        functools.partial(_write_file, options=options),
        request.tasks(files),
        name="mesh",
        token=lambda task: str(tokenize(url, run, task.file.name, task.file.identity)),
    )
    # Closed, also where recording fails: the run ends then, with no writer left.
    with closing(outcomes):
        for outcome in outcomes:
            file = outcome.item.file
            if outcome.error is not None:
                raise_if_hopeless(outcome.error)
                failures[file.name] = one_line(outcome.error)
                continue
            record_digest(options.folder, file, str(outcome.result))
            done.append(file)
            if progress is not None:
                progress(kept + len(done), total)
    _forget_if_changed(request, options.folder, done)
    if failures:
        raise JobError(
            f"{len(failures)} of {total} meshes failed; what is done is not done again", failures
        )


def _forget_if_changed(
    request: _MeshRequest, folder: Location, files: Sequence[OutputFile]
) -> None:
    """Refuse an annotation that has changed meanwhile; nothing is known then of these files."""
    try:
        request.refuse_changed()
    except StoreError:
        folder.remove_keys(file.record for file in files)
        raise


def _write_file(task: _MeshTask, options: _TaskOptions) -> str:
    """Make a mesh, write its file unless it is there, and return its digest: a task."""
    # What is in a file shows only once the mesh is made; it is the same to the byte then.
    mesh = mesh_from_mask(task.mask, options.smoothing, scheduler="synchronous")
    if options.format == _NEUROGLANCER:
        data = encode_fragment(mesh)
    else:
        data = encode_mesh({task.name: mesh}, f".{options.format}", {task.name: task.color})
    _put(options, task.file, data)
    return hashlib.sha256(data).hexdigest()


def _put(options: _TaskOptions, file: OutputFile, data: bytes) -> None:
    there = options.folder.read(file.name)
    if there == data:
        return
    if there is not None and not options.overwrite:
        is_changed = recorded_digest(options.folder, file) is not None
        what = "was changed since it was written here" if is_changed else "is no such mesh"
        raise StoreError(
            f"{file.name} is there, and {what}; replace it with --overwrite (Python: "
            "overwrite=True)"
        )
    options.lease.write(file.name, data)


def _complete_folder(location: Location, regions: Regions, overwrite: bool) -> None:
    """Write what Neuroglancer reads before the meshes: manifests, and the kind of the folder."""
    small = dict(neuroglancer_manifest(int(label)) for label in regions.labels)
    for name, data in {**small, INFO: neuroglancer_info()}.items():
        there = location.read(name)
        if there is not None and there != data and not overwrite:
            raise StoreError(
                f"{name} is there, and is of other meshes; replace it with --overwrite (Python: "
                "overwrite=True), or give another folder"
            )
        if there != data:
            write_whole(location, name, data)
