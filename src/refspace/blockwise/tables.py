"""Columns of lazy tables as lazy arrays, one block for each partition."""

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

import dask.array
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from refspace.blockwise.graphs import Tasks, array_from_tasks, name_from_inputs

if TYPE_CHECKING:
    # An extra of dask, which need not be installed.
    from dask.dataframe import DataFrame


def array_from_table(table: "DataFrame", columns: Sequence[Hashable]) -> dask.array.Array:
    """Columns of a table of dask as an array of floats; lazy.

    Its own method `to_dask_array` fails where arrays are expressions (dask 2026.8).

    Parameters
    ----------
    table
        A `dask.dataframe.DataFrame`.
    columns
        Columns of numbers.

    Returns
    -------
    dask.array.Array
        A row for each of the table. It is not known how many a partition has: its size is NaN, as
        that of all arrays that dask makes of tables.

    Examples
    --------
    >>> import dask.dataframe
    >>> table = dask.dataframe.from_pandas(pd.DataFrame({"x": [1, 2], "y": [3, 4]}), npartitions=2)
    >>> array_from_table(table, ["y", "x"]).compute()
    array([[3., 1.],
           [4., 2.]])
    """
    # Only what the columns need is read of files of columns, such as Parquet.
    chosen = table[list(columns)].optimize()
    keys = chosen.__dask_keys__()
    name = name_from_inputs("columns", keys)
    tasks: Tasks = dict(chosen.__dask_graph__())
    tasks |= {(name, i, 0): (_to_floats, key) for i, key in enumerate(keys)}
    return array_from_tasks(name, tasks, (), ((np.nan,) * len(keys), (len(columns),)), np.float64)


def _to_floats(part: pd.DataFrame) -> NDArray[np.float64]:
    """Columns of a partition, with NaN for missing values."""
    floats: NDArray[np.float64] = part.to_numpy(np.float64, na_value=np.nan)
    return floats
