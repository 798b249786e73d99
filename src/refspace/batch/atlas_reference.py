"""References to atlases, with which other processes open the same atlas."""

import functools
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from dask.tokenize import tokenize

from refspace.blockwise.content_identity import Identity
from refspace.blockwise.identity import array_identity, refuse_changed
from refspace.errors import SourceError, StoreError
from refspace.formats.structures import read_structures
from refspace.grid import Hemisphere
from refspace.labels.noting import LabelNotes
from refspace.reference_space import ReferenceSpace
from refspace.reference_space import open as open_space
from refspace.reference_space.opening import separated
from refspace.safe_text import without_secrets
from refspace.store import reachable
from refspace.types import PathLike, Resolution


@dataclass(frozen=True)
class AtlasReference:
    """Arguments that open an atlas; small, whatever the size of the atlas.

    Parameters
    ----------
    url
        Path or URL of a store, or of a file of voxels.
    options
        JSON of the other arguments of `refspace.open`.
    hemisphere
        Hemisphere of the atlas; None for both.
    version
        Digest of the atlas, which must not have changed; empty for whatever atlas is there.
    frame
        Frame of the coordinates, and of the midline among the options; None for the atlas's own.
    """

    # Both may hold keys, which must not stand in a log.
    url: str = field(repr=False)
    options: str = field(repr=False)
    hemisphere: Hemisphere | None = None
    version: str = ""
    frame: str | None = None

    def __repr__(self) -> str:
        sides = f", {self.hemisphere}" if self.hemisphere else ""
        return f"AtlasReference({without_secrets(self.url)!r}{sides})"

    @classmethod
    def from_arguments(
        cls,
        url: PathLike,
        *,
        structures: PathLike | None = None,
        columns: Mapping[str, str] | None = None,
        resolution: Resolution | None = None,
        orientation: str | None = None,
        override: bool = False,
        midline: float | None = None,
        hemispheres: PathLike | None = None,
        storage_options: Mapping[str, Any] | None = None,
        engine: str | None = None,
        chunk_cache: PathLike | None = None,
        hemisphere: Hemisphere | None = None,
    ) -> "AtlasReference":
        """Reference to the atlas that `refspace.open` opens, or to one hemisphere of it.

        ``columns`` are those of the structures, as for `refspace.read_structures`.

        Raises
        ------
        SourceError
            If the structures or options cannot be named to another process.

        Examples
        --------
        >>> AtlasReference.from_arguments("atlas.zarr", resolution=50).options
        '{"resolution": 50}'
        """
        options = {
            "structures": None if structures is None else _absolute_path(structures),
            "columns": dict(columns) if columns else None,
            "resolution": resolution,
            "orientation": orientation,
            "override": override or None,
            "midline": midline,
            "hemispheres": None if hemispheres is None else _absolute_path(hemispheres),
            "storage_options": None if storage_options is None else dict(storage_options),
            "engine": engine,
            "chunk_cache": None if chunk_cache is None else _absolute_path(chunk_cache),
        }
        options = {name: value for name, value in options.items() if value is not None}
        try:
            return cls(_absolute_path(url), json.dumps(options, sort_keys=True), hemisphere)
        except TypeError as error:
            raise SourceError(
                f"the options {', '.join(options)} cannot be sent to other processes ({error}); "
                "give texts and numbers"
            ) from error

    def pinned(self) -> "AtlasReference":
        """Reference to the atlas as it is now, and to none that replaces it later."""
        return replace(self, version=_version(_open(self)))

    def open(self) -> ReferenceSpace:
        """Open the atlas; each process opens a version of it once.

        Raises
        ------
        StoreError
            If the atlas there has another version.
        """
        return _opened(self).noted if self.version else _open(self)

    def identity(self) -> Identity:
        """What tells the voxels of the atlas, as they are now, from any others.

        In doubt where a server states sizes alone. The voxels of a store of ours are told apart by
        their digests.
        """
        return _identity(_opened(self).space if self.version else _open(self))

    def refuse_changed(self) -> None:
        """Refuse an atlas that has changed since this process opened it.

        Raises
        ------
        StoreError
            If it has.
        """
        opened = _opened(self)
        refuse_changed({"annotation": opened.identity}, {"annotation": _identity(opened.space)})

    def labels_read(self) -> set[int]:
        """Labels that this process has read so far of an atlas without a label index."""
        return _opened(self).notes.labels if self.version else set()


def _absolute_path(path: object) -> str:
    if not isinstance(path, str | os.PathLike):
        raise SourceError(
            f"a {type(path).__name__} cannot be sent to other processes; give the path or URL of a "
            "store or file, which they open by themselves"
        )
    # The working directory of other processes may be another.
    return reachable(os.fspath(path))


@dataclass(frozen=True)
class _Opened:
    """An atlas as this process has opened it; `noted` notes the labels that are read of it."""

    space: ReferenceSpace
    noted: ReferenceSpace
    notes: LabelNotes
    identity: Identity


@functools.lru_cache(maxsize=4)
def _opened(reference: AtlasReference) -> _Opened:
    space = _open(reference)
    if _version(space) != reference.version:
        raise StoreError(
            f"{reference.url} has changed since the job began, or is not the same for every "
            "process; run the same again"
        )
    notes, noted = LabelNotes(), space
    if space.volume.index is None:
        noted = space.with_volume(notes.on(space.volume), space.template)
    return _Opened(space, noted, notes, _identity(space))


def _open(reference: AtlasReference) -> ReferenceSpace:
    options = json.loads(reference.options)
    if (columns := options.pop("columns", None)) is not None:
        options["structures"] = read_structures(options["structures"], columns=columns)
    if reference.frame is None:
        space = open_space(reference.url, **options)
    else:
        sides = {name: options.pop(name, None) for name in ("midline", "hemispheres")}
        space = separated(open_space(reference.url, **options).in_frame(reference.frame), **sides)
    return space if reference.hemisphere is None else space.hemisphere(reference.hemisphere)


def _version(space: ReferenceSpace) -> str:
    nodes = json.dumps(space.structure_tree.nodes(), sort_keys=True, default=str)
    return str(tokenize(dict(_identity(space).facts), nodes, space.volume.hemispheres.identity))


def _identity(space: ReferenceSpace) -> Identity:
    """Identity of the labels, and of the hemispheres where they are a volume."""
    labels, sides = space.annotation.data, space.volume.hemispheres.volume
    own = array_identity(labels)
    if sides is None:
        return own
    beside = array_identity(sides.data)
    return Identity({**own.facts, "hemispheres": dict(beside.facts)}, own.doubt or beside.doubt)
