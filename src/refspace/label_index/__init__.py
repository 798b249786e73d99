"""The label index: the labels of each chunk of an annotation, voxel counts and bounding boxes."""

from refspace.label_index.blocks import IN, MIXED, OUT, BlockLabels
from refspace.label_index.index import LabelIndex
from refspace.label_index.parts import IndexParts, PartedIndex, large_chunks, split_table
from refspace.label_index.rows import (
    FIELDS,
    Chunks,
    cell_rows,
    chunk_rows,
    cut_at_midline,
    filled_rows,
    merge_rows,
)

__all__ = [
    "FIELDS",
    "IN",
    "MIXED",
    "OUT",
    "BlockLabels",
    "Chunks",
    "IndexParts",
    "LabelIndex",
    "PartedIndex",
    "cell_rows",
    "chunk_rows",
    "cut_at_midline",
    "filled_rows",
    "large_chunks",
    "merge_rows",
    "split_table",
]
