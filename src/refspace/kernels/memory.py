"""Memory that kernels free and take again: it stays with the process.

Above a threshold glibc gives freed memory back to the system, which fills every page of it with
zeros before it is there again: a third of the time that statistics take. The threshold is that of
the largest block that was ever freed alone, and for the free end of the heap twice as much
(mallopt(3), M_MMAP_THRESHOLD and M_TRIM_THRESHOLD).
"""

import numpy as np

# Of which kernels have a few at a time: twice what the values of a part of a block take.
_BLOCK_BYTES = 8 * 2**20


def keep_freed_memory() -> None:
    """Have freed memory stay with the process, up to 16 MiB for each thread.

    A block is taken, and freed without being touched; other allocators take no notice.
    """
    np.empty(_BLOCK_BYTES, np.uint8)
