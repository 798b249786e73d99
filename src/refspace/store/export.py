"""Plain stores for programs of others: an image of OME-Zarr, and the annotation as its labels."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from refspace.blockwise.content_identity import Identity
from refspace.errors import FormatError
from refspace.grid import Grid
from refspace.pools import Pool
from refspace.store.block_source import BlockSource
from refspace.store.digests import json_digest
from refspace.store.metadata import Layout
from refspace.store.ome import plain
from refspace.store.staging import EXPORT
from refspace.store.write import Progress, StoreJob, StoreWriter, WriteTarget, write_store
from refspace.store.zarr_files import ZARR_JSON, ZATTRS
from refspace.version import __version__

VERSIONS = ("0.5", "0.4")


@dataclass(frozen=True)
class ExportLayout(Layout):
    """Arrays of a plain store: an image at the root, and labels beneath it.

    Parameters
    ----------
    version
        Version of OME-Zarr, ``"0.4"`` in zarr v2 or ``"0.5"`` in zarr v3.
    """

    version: plain.Version = "0.5"
    is_indexed = False

    @classmethod
    def from_layout(cls, layout: Layout, version: plain.Version) -> "ExportLayout":
        """The same arrays, laid out for others.

        Raises
        ------
        FormatError
            If there is no such version, or it knows no shards.
        """
        if version not in VERSIONS:
            raise FormatError(f"version is {version!r}; give one of {', '.join(VERSIONS)}")
        if version == "0.4" and layout.shard_shape is not None:
            raise FormatError("OME-Zarr 0.4 knows no shards; leave them out, or give version 0.5")
        return cls(**{f.name: getattr(layout, f.name) for f in fields(layout)}, version=version)

    @property
    def zarr_format(self) -> Literal[2, 3]:  # type: ignore[override]
        """Format of zarr."""
        return 2 if self.version == "0.4" else 3

    @property
    def metadata(self) -> dict[str, Any]:
        """The layout as JSON values, which equal layouts have in common."""
        return {**super().metadata, "version": self.version}

    def paths(self, name: str) -> list[tuple[str, Grid]]:
        """Path and grid of the levels of a volume."""
        folder = f"{plain.LABELS}/{plain.NAME}/" if name == plain.NAME else ""
        return [(f"{folder}{level}", grid) for level, grid in enumerate(self.grids)]

    def dims(self, grid: Grid) -> tuple[str, ...]:
        """Names of the dims of the arrays, whatever their directions."""
        return plain.AXES

    def attrs(self, name: str) -> dict[str, Any]:
        """None: what there is to say is said by the groups."""
        return {}


def export_image(
    target: WriteTarget,
    layout: ExportLayout,
    nodes: Sequence[Mapping[str, Any]],
    sources: Mapping[str, BlockSource],
    *,
    with_index: bool = True,
    identify: Callable[[], Mapping[str, Identity]],
    pool: Pool | None = None,
    progress: Progress | None = None,
    reads: Sequence[str] = (),
) -> None:
    """Write a plain store, which appears whole or not at all.

    Parameters
    ----------
    target
        Where it is written.
    layout, sources
        Its arrays, and their voxels: ``annotation``, and ``template`` where there is one.
    nodes
        Structures, as `StructureTree.nodes` gives them.
    with_index
        Whether each structure has its id as the property ``index`` too.
    identify, pool, progress, reads
        As for `write_atlas`.

    Raises
    ------
    OntologyError
        If a field of a structure is nothing that JSON carries as it is.
    StoreError
        As for `write_atlas`.
    """
    groups = _groups(layout, nodes, with_index)
    content = {"layout": layout.metadata, "groups": json_digest(groups)}

    def finish(writer: StoreWriter, job: str) -> None:
        _finish(writer, groups, job)

    job = StoreJob(layout, content, finish, ZARR_JSON if layout.zarr_format == 3 else ZATTRS)
    write_store(target, job, sources, identify, pool=pool, progress=progress, reads=reads)


def _groups(
    layout: ExportLayout, nodes: Sequence[Mapping[str, Any]], with_index: bool
) -> dict[str, dict[str, Any]]:
    """Attributes of the groups by their paths, that of the root empty."""
    labels = layout.paths(plain.NAME)
    image = layout.paths("template") if "template" in layout.dtypes else []
    folder = f"{plain.LABELS}/{plain.NAME}"
    inner = [(path.removeprefix(f"{folder}/"), grid) for path, grid in labels]
    described = plain.label_group_attributes(layout.version, inner, nodes, with_index=with_index)
    return {
        plain.LABELS: plain.group_attributes(layout.version),
        folder: described,
        "": plain.root_attributes(layout.version, labels, image, "template"),
    }


def _finish(writer: StoreWriter, groups: Mapping[str, dict[str, Any]], job: str) -> None:
    """Write everything beside the voxels, the root's metadata last of all."""
    for path, attributes in groups.items():
        if path:
            writer.skeleton.put_group(path, attributes)
    # By which the same command knows that it has nothing to do.
    own = {"complete": True, "job": job, "exporter": f"refspace {__version__}"}
    objects = writer.skeleton.objects({**groups[""], EXPORT: own})
    arrays = writer.arrays.values()
    writer.staging.complete(objects, {key for w in arrays for key in w.keys(range(len(w.boxes)))})
