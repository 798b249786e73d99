"""The only hand-made dask graphs outside the store: each block computed from a few others."""
