"""What a store of ours says without a voxel: its structures, and how many voxels each has.

Commands that need no more wait for no array library: importing xarray and dask takes several times
as long as the answer.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from refspace.cli.options import is_named, is_store
from refspace.errors import RefspaceError
from refspace.types import BACKGROUND

if TYPE_CHECKING:
    import pandas as pd

    from refspace.store import StoredAtlas
    from refspace.structure_tree import StructureTree
    from refspace.types import Resolution


@dataclass(frozen=True)
class StoredCounts:
    """Voxels of the structures of a store, as its label index says.

    Parameters
    ----------
    tree
        The structures.
    labels
        Number of voxels of each label.
    voxel_volume
        mm³ of a voxel.
    """

    tree: "StructureTree"
    labels: Mapping[int, int]
    voxel_volume: float

    def table(self) -> "pd.DataFrame":
        """Table like that of `ReferenceSpace.voxel_counts`, with a row for each structure."""
        import numpy as np
        import pandas as pd

        ids = self.tree.node_ids()
        direct = [0 if i == BACKGROUND else self.labels.get(i, 0) for i in ids]
        total = self.tree.total(direct)
        columns = {
            **{name: self._texts(name) for name in ("acronym", "name")},
            "direct": np.array(direct, np.int64),
            "total": total,
            "volume_mm3": total * self.voxel_volume,
        }
        return pd.DataFrame(columns, pd.Index(ids, dtype=np.int64, name="structure"))

    def _texts(self, field: str) -> list[str]:
        return [str(record.get(field) or "") for record in self.tree.records.values()]


def stored_tree(
    source: str, resolution: "Resolution | None" = None, **access: Any
) -> "StructureTree | None":
    """Structures of a store; None of anything else, or where it cannot be opened.

    Parameters
    ----------
    source
        Path or URL, or the name of an atlas.
    resolution
        µm per voxel of a level of the store.
    access
        What reaching a store on another machine needs.
    """
    opened = _opened(source, resolution, access)
    return None if opened is None else opened[1]


def stored_counts(
    source: str, resolution: "Resolution | None" = None, **access: Any
) -> StoredCounts | None:
    """Voxels of the structures of a store; None where it takes more than its index to know.

    Parameters
    ----------
    source, resolution, access
        As for `stored_tree`.
    """
    if (opened := _opened(source, resolution, access)) is None:
        return None
    atlas, tree = opened
    level = atlas.level(resolution)
    index = None
    with suppress(RefspaceError):
        index = atlas.index(level)
    if index is None:
        return None
    return StoredCounts(tree, index.counts(), atlas.levels[level].grid.voxel_volume)


def _opened(
    source: str, resolution: "Resolution | None", access: dict[str, Any]
) -> "tuple[StoredAtlas, StructureTree] | None":
    """Store with structures of its own."""
    if is_named(source) or not is_store(source):
        return None
    from refspace.store import open_atlas

    # What is wrong is said by what opens all of it, in the words for all commands.
    with suppress(RefspaceError):
        atlas = open_atlas(source, resolution=resolution, **access)
        atlas.level(resolution)
        if atlas.structures:
            return atlas, atlas.structures.tree()
    return None
