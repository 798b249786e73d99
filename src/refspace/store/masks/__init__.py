"""Masks of many structures in a store: an OME-Zarr image with a channel for each structure."""

from refspace.store.masks.layout import MaskLayout
from refspace.store.masks.reading import StoredMasks, is_mask_store, open_masks, open_stored_masks
from refspace.store.masks.writing import (
    MaskBlock,
    MaskJournal,
    Shard,
    ShardWriter,
    finish_masks,
    put_block,
    write_whole,
)

__all__ = [
    "MaskBlock",
    "MaskJournal",
    "MaskLayout",
    "Shard",
    "ShardWriter",
    "StoredMasks",
    "finish_masks",
    "is_mask_store",
    "open_masks",
    "open_stored_masks",
    "put_block",
    "write_whole",
]
