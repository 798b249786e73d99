"""What is wrong, or odd, with an annotation and its ontology, as a report."""

from dataclasses import dataclass

import pandas as pd

# Rows of a table that a report shows.
_SHOWN = 8


@dataclass(frozen=True)
class Validation:
    """What an annotation and its ontology have not in common, and what else is odd.

    Tables have the worst first; they are empty where nothing was found, and None where it was not
    looked for.

    Parameters
    ----------
    unknown
        Ids that the volume holds and the tree does not know, in the order of the ids: column
        ``voxels``, and ``start`` and ``stop``, the corners of their bounding box in µm.
    unassigned
        Ids of the structures that have no voxel, neither themselves nor in their subtree.
    structure_count
        Number of structures.
    uncovered
        Structures that have children and ``voxels`` of their own, which none of them covers; or,
        where regions were asked for, structures with voxels that are in none of these.
    doubly_covered
        Structures with ``voxels`` of their own that are in several of the regions asked for; if
        none were, in several structures of a ``structure_set``.
    asymmetric
        Regions of which one hemisphere has many more voxels: ``left``, ``right``, and
        ``asymmetry``, their difference over their sum.
    of_regions
        Whether regions were asked for.
    disconnected
        Regions that fall into several ``components`` in a ``hemisphere``: ``voxels``, and those
        ``outside`` the largest.
    deviating
        Structures whose ``volume`` in mm³ is not the one that is ``published``: ``deviation``,
        relative to the latter.
    """

    unknown: pd.DataFrame
    unassigned: tuple[int, ...]
    structure_count: int
    uncovered: pd.DataFrame
    doubly_covered: pd.DataFrame
    asymmetric: pd.DataFrame
    of_regions: bool = False
    disconnected: pd.DataFrame | None = None
    deviating: pd.DataFrame | None = None

    @property
    def ok(self) -> bool:
        """Whether the tree knows every id of the volume; what else was found is to be judged."""
        return self.unknown.empty

    def __str__(self) -> str:
        """Report of all that was found, long tables cut."""
        without = f"{len(self.unassigned)} of {self.structure_count} structures have no voxels"
        if self.ok:
            lines = [f"every id of the volume is known; {without}"]
        else:
            voxels = int(self.unknown["voxels"].sum())
            held = f"{voxels} voxels hold ids that the structures lack:"
            lines = [held, _cut(self.unknown), without]
        uncovered, twice = (
            (
                "structures with voxels in no region",
                "structures in several regions",
            )
            if self.of_regions
            else (
                "structures with voxels of their own that no child covers",
                "structures in several structures of one set",
            )
        )
        for table, found in (
            (self.uncovered, uncovered),
            (self.doubly_covered, twice),
            (self.asymmetric, "regions of unequal hemispheres"),
            (self.disconnected, "regions in several pieces"),
            (self.deviating, "structures of another volume than published"),
        ):
            if table is not None and not table.empty:
                lines += [f"{found}: {len(table)}", _cut(table)]
        return "\n".join(lines)


def _cut(table: pd.DataFrame) -> str:
    """First rows of a table, and how many there are beyond."""
    text = table.head(_SHOWN).to_string(float_format="{:.3g}".format, index_names=False)
    more = len(table) - _SHOWN
    return f"{text}\n… and {more} more" if more > 0 else text
