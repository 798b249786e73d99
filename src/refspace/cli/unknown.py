"""Telling which ids of a volume its structures lack, on standard error and in one line."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from refspace.cli.terminal import echo

if TYPE_CHECKING:
    from refspace.reference_space import ReferenceSpace


@contextmanager
def telling_unknown_ids(space: "ReferenceSpace") -> "Iterator[ReferenceSpace]":
    """Give a space to work with, and tell in the end which of its ids the structures lack.

    No voxel is read for that: they come from the label index, or else from what the work reads.

    Parameters
    ----------
    space
        The space.
    """
    from refspace.labels.noting import LabelNotes

    index = space.volume.index
    if index is not None:
        yield space
        tell_unknown_ids(index.counts(), space.structure_tree.node_ids())
        return
    notes = LabelNotes()
    yield space.with_volume(notes.on(space.volume), space.template)
    tell_unknown_ids(notes.labels, space.structure_tree.node_ids())


def tell_unknown_ids(
    labels: Mapping[int, int] | Collection[int], structure_ids: Collection[int]
) -> None:
    """Tell which labels of a volume are no ids of structures.

    Parameters
    ----------
    labels
        The labels, with their numbers of voxels or without.
    structure_ids
        Ids of all structures.
    """
    from refspace.verbs.unknown import UnknownIds

    if found := UnknownIds.from_labels(labels, structure_ids):
        echo(f"Warning: {found}", err=True)
