"""Ids that a volume holds and its structures lack, and what has likely become of them."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from refspace.types import BACKGROUND

if TYPE_CHECKING:
    from refspace.verbs.space import Space

# Ids that a report names.
_SHOWN = 5
_UINT16 = 2**16


@dataclass(frozen=True)
class UnknownIds:
    """Ids that a volume holds and its structures lack.

    Parameters
    ----------
    ids
        The ids, ascending.
    voxels
        Number of voxels of each; empty where they were not counted.
    casts
        Ids of structures that the volume lacks, by the unknown id that a cast to uint16 would make
        of each: the remainder of its division by 65 536.
    """

    ids: tuple[int, ...]
    voxels: tuple[int, ...]
    casts: Mapping[int, tuple[int, ...]]

    @classmethod
    def from_labels(
        cls, labels: Mapping[int, int] | Collection[int], structure_ids: Collection[int]
    ) -> "UnknownIds":
        """Compare the labels of a volume with the ids of its structures.

        Parameters
        ----------
        labels
            Labels of the volume, with their numbers of voxels or without.
        structure_ids
            Ids of all structures.

        Examples
        --------
        >>> found = UnknownIds.from_labels({0: 9, 8: 2, 464: 4}, [8, 66000])
        >>> found.ids, found.voxels, found.casts
        ((464,), (4,), {464: (66000,)})
        >>> str(found).split(". ")[0]
        '4 voxels hold 1 id that the structures lack: 464'
        """
        known = set(structure_ids)
        ids = tuple(sorted(set(labels) - known - {BACKGROUND}))
        voxels = tuple(labels[i] for i in ids) if isinstance(labels, Mapping) else ()
        casts: dict[int, tuple[int, ...]] = {}
        for i in sorted(known - set(labels)):
            if i >= _UINT16 and i % _UINT16 in ids:
                casts[i % _UINT16] = (*casts.get(i % _UINT16, ()), i)
        return cls(ids, voxels, casts)

    def __bool__(self) -> bool:
        return bool(self.ids)

    def __str__(self) -> str:
        """One line that says which they are; empty where there are none."""
        if not self.ids:
            return ""
        count = f"{len(self.ids)} {'id' if len(self.ids) == 1 else 'ids'}"
        who = f"{sum(self.voxels)} voxels hold" if self.voxels else "the volume holds"
        shown = ", ".join(map(str, self.ids[:_SHOWN])) + (", …" if len(self.ids) > _SHOWN else "")
        text = f"{who} {count} that the structures lack: {shown}"
        return ". ".join([text, self.likely_cast]) if self.casts else text

    @property
    def likely_cast(self) -> str:
        """Sentence on what has become of ids above 65 535; empty where nothing suggests it."""
        if not self.casts:
            return ""
        some = f"{len(self.casts)} of them are absent ids"
        subject = "It is an absent id" if len(self.ids) == 1 else some
        id_now, (id_before, *_) = next(iter(self.casts.items()))
        return (
            f"{subject} of the structures modulo {_UINT16} ({id_before} became {id_now}): the "
            "volume was likely cast to uint16; get the original, or write it again as uint32"
        )


def unknown_ids(space: "Space") -> UnknownIds:
    """Ids that the volume holds and the structures lack, with how many voxels hold each.

    Returns
    -------
    UnknownIds
        From the label index of a store; of anything else the first call reads the volume. Its text
        is a line that says which ids they are, and names the cast that likely made them: where
        they are ids above 65 535 of absent structures, modulo 65 536.

    Examples
    --------
    >>> import refspace
    >>> space = refspace.phantom(resolution=400)
    >>> space.unknown_ids().ids
    ()
    >>> cast = space.annotation.astype("u2")
    >>> "likely cast to uint16" in str(
    ...     refspace.ReferenceSpace(space.structure_tree, cast).unknown_ids()
    ... )
    True
    """
    return UnknownIds.from_labels(space.volume.label_counts, space.structure_tree.node_ids())
