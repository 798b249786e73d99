"""Jobs of many parts, which threads or the workers of a dask cluster do, and which survive."""

from refspace.batch.mask_store import MasksWritten
from refspace.batch.masks import write_masks

__all__ = ["MasksWritten", "write_masks"]
