"""Columns of lazy tables as arrays, against pandas."""

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest

from refspace.blockwise.tables import array_from_table

TABLE = pd.DataFrame({"a": [1, 2, 3, 4], "b": [0.5, np.nan, 2.5, 3.5], "c": list("wxyz")})


@pytest.mark.parametrize("columns", [["a"], ["b", "a"]])
@pytest.mark.parametrize("partitions", [1, 3])
def test_columns_over_partitions(columns, partitions):
    lazy = dd.from_pandas(TABLE, npartitions=partitions)
    array = array_from_table(lazy, columns)
    assert array.ndim == 2
    assert array.shape[1] == len(columns)
    assert np.isnan(array.shape[0])
    np.testing.assert_array_equal(array.compute(), TABLE[columns].to_numpy(float))
    assert array.name == array_from_table(lazy, columns).name


def test_missing_values_of_nullable_columns():
    table = pd.DataFrame({"a": pd.array([1, None], "Int64")})
    array = array_from_table(dd.from_pandas(table, npartitions=1), ["a"])
    np.testing.assert_array_equal(array.compute(), [[1], [np.nan]])
