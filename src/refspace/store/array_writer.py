"""An array of a store in the making: which of its blocks are written, and what proves them."""

from collections.abc import Iterable

from refspace.label_index import Chunks, LabelIndex
from refspace.store.block_writer import BlockWriter, CoarseBlock, WrittenBlock
from refspace.store.boxes import BlockId, Box, block_boxes
from refspace.store.prove import object_faults
from refspace.store.pyramid import source_box


class ArrayWriter:
    """One array of a store, with the records of the blocks written so far.

    Parameters
    ----------
    blocks
        Writes its blocks.
    """

    def __init__(self, blocks: BlockWriter) -> None:
        self.blocks = blocks
        self.array = blocks.array
        self.boxes = block_boxes(self.array.blocks)
        # Blocks are recorded by their flat ids, in C order, which one integer holds.
        self.flat_ids = {block_id: flat_id for flat_id, block_id in enumerate(self.boxes)}
        self.written: dict[int, WrittenBlock] = {}

    @property
    def path(self) -> str:
        """Path of the array in the store."""
        return self.array.array.path

    def missing(self, slab: Box | None = None) -> list[BlockId]:
        """Blocks, of all or of those in a slab, that are not yet written."""
        return [
            block_id
            for block_id, box in self.boxes.items()
            if self.flat_ids[block_id] not in self.written
            and (
                slab is None
                or all(s.start <= b.start < s.stop for s, b in zip(slab, box, strict=True))
            )
        ]

    def keys(self, flat_ids: Iterable[int]) -> list[str]:
        """Names of the objects that hold some blocks."""
        block_ids = list(self.boxes)
        return [self.array.key(block_ids[flat_id]) for flat_id in flat_ids]

    def forget_what_is_lost(self) -> None:
        """Forget the records of blocks whose objects are gone, or are not those recorded."""
        flat_ids = dict(zip(self.keys(self.written), self.written, strict=True))
        records = {key: self.written[flat_id].record for key, flat_id in flat_ids.items()}
        for fault in object_faults(self.array.location, records):
            del self.written[flat_ids[fault.key]]

    def sources(self, coarser: "ArrayWriter", block_id: BlockId) -> CoarseBlock:
        """Block of the next level, with the records of what it is made of."""
        box = source_box(coarser.boxes[block_id], self.array.shape)
        needed = self.array.block_ids(box)
        return CoarseBlock(
            block_id, {own: self.written[self.flat_ids[own]].record for own in needed}
        )

    def index(self, cells: Chunks) -> LabelIndex:
        """Label index of the array, once every block is written."""
        rows = [written.rows for written in self.written.values()]
        return LabelIndex.from_rows(self.array.shape, cells, rows)
