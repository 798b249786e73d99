"""Label indices of random volumes, in one piece and in parts."""

import dask.array as da
import numpy as np
from hypothesis import strategies as st

from helpers.volumes import chunkings, volumes
from refspace.label_index import IndexParts, LabelIndex, PartedIndex, chunk_rows, split_table


def parts_of(voxels, chunks):
    """Rows of each chunk."""
    slices = da.core.slices_from_chunks(chunks)
    return [
        chunk_rows(voxels[part], number, [axis.start for axis in part])
        for number, part in enumerate(slices)
    ]


def index_of(voxels, chunks):
    return LabelIndex.from_rows(voxels.shape, chunks, parts_of(voxels, chunks))


@st.composite
def chunked_volumes(draw):
    voxels = draw(volumes())
    return voxels, draw(chunkings(voxels.shape))


@st.composite
def coarser(draw, chunks):
    """Random unions of whole chunks."""
    result = []
    for sizes in chunks:
        cuts = np.cumsum(sizes).tolist()
        kept = [cut for cut in cuts[:-1] if draw(st.booleans())]
        result.append(tuple(np.diff([0, *kept, cuts[-1]]).tolist()))
    return tuple(result)


@st.composite
def keys(draw, shape):
    """An index or a slice for each axis, empty ones and such that end outside too."""
    key = []
    for count in shape:
        a, b = draw(st.integers(0, count - 1)), draw(st.integers(0, count + 2))
        key.append(draw(st.sampled_from([a, slice(min(a, b), max(a, b)), slice(0, count)])))
    return tuple(key)


def in_parts(index, rows, coarse=None, reads=None):
    """The same index in parts of some rows, which notes those that are read.

    Its totals are those of some large chunks, one if not given.
    """
    numblocks = [len(sizes) for sizes in index.chunks]
    table, spans = split_table(index.table, numblocks, rows)

    def read(parts):
        for part in parts:
            if reads is not None:
                reads.append(part)
            yield table[:, part * rows : (part + 1) * rows]

    totals = index.coarsen(coarse or [[count] for count in index.shape])
    parts = IndexParts(index.shape, index.chunks, spans, read)
    return PartedIndex(index.shape, index.chunks, totals, parts.crop)
