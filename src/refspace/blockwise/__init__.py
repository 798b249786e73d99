"""Hand-made dask graphs: arrays and values that are computed block by block.

Most of this package's arrays are made by dask's own functions, such as `dask.array.map_blocks`. The
modules here are for what these cannot express: a block that need not be read, because its label is
known; a block that is measured together with its neighbours; one value that all blocks make up.
Each module has a general shape of graph, and plain NumPy functions as its tasks. The two functions
of `graphs` make them all. Besides these modules, only `store` builds graphs by hand.
"""
