"""Values of structures, as they are taken from what a caller has."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from refspace.ops.paint import split_values


@pytest.mark.parametrize(
    "values",
    [
        {"VISp": 1, "TH": 2.5},
        pd.Series([1, 2.5], ["VISp", "TH"], name="energy"),
        xr.DataArray([1, 2.5], {"structure": ["VISp", "TH"]}, name="energy"),
    ],
)
def test_values_of_any_kind_are_alike(values):
    structures, numbers = split_values(values)
    assert structures == ["VISp", "TH"]
    assert (numbers.dims, numbers.name) == (("structure",), getattr(values, "name", None))
    np.testing.assert_array_equal(numbers, [1, 2.5])


def test_structures_come_last():
    values = xr.DataArray(np.arange(6).reshape(2, 3), {"structure": [7, 9]}, ("structure", "time"))
    structures, numbers = split_values(values)
    assert (structures, numbers.dims, numbers.dtype) == ([7, 9], ("time", "structure"), "f8")
    np.testing.assert_array_equal(numbers, values.values.T)
