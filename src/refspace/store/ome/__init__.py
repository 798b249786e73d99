"""OME-Zarr metadata as values, and back: no zarr, no I/O.

The attributes of a group come from anywhere: whatever they hold is looked at before it is used.
Source of all that is not said otherwise: the specification, https://ngff.openmicroscopy.org/0.5/.
"""

from refspace.store.ome.grids import dataset_grid, states_lengths
from refspace.store.ome.images import (
    Axis,
    Dataset,
    Multiscale,
    is_label,
    label_names,
    read_multiscale,
    read_multiscales,
)
from refspace.store.ome.labels import label_attributes
from refspace.store.ome.masks import mask_attributes
from refspace.store.ome.structures import LabelStructures, nodes_from_label

__all__ = [
    "Axis",
    "Dataset",
    "LabelStructures",
    "Multiscale",
    "dataset_grid",
    "is_label",
    "label_attributes",
    "label_names",
    "mask_attributes",
    "nodes_from_label",
    "read_multiscale",
    "read_multiscales",
    "states_lengths",
]
