"""Results over structures carry acronyms, and are selected by them in one way."""

from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr

import refspace

NAMES = ["Isocortex", "VISp", "TH"]


@pytest.fixture(scope="module")
def space() -> refspace.ReferenceSpace:
    return refspace.phantom(400)


VERBS: dict[str, Callable[[refspace.ReferenceSpace], xr.Dataset | xr.DataArray]] = {
    "counts": lambda s: s.voxel_counts(),
    "counts by hemisphere": lambda s: s.voxel_counts(by_hemisphere=True),
    "aggregate": lambda s: s.aggregate(np.ones(s.grid.shape), statistics=["mean"]),
    "aggregate by hemisphere": lambda s: s.aggregate(
        np.ones(s.grid.shape), NAMES, statistics=["sum"], by_hemisphere=True
    ),
    "points": lambda s: s.count_points(np.array([[5100.0, 1500, 3300]])),
    "properties": lambda s: s.region_properties(NAMES),
    "properties by hemisphere": lambda s: s.region_properties(NAMES, by_hemisphere=True),
    "surface area": lambda s: s.surface_area(NAMES),
    "comparison": lambda s: s.compare(s).structures,
    "coverage": lambda s: s.check_coverage(
        NAMES, s.make_structure_mask("Isocortex"), per_structure=True
    ),
}


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
def test_results_are_selected_by_acronym(
    space: refspace.ReferenceSpace, verb: Callable[[refspace.ReferenceSpace], xr.Dataset]
) -> None:
    result = verb(space).compute()
    ids = space.structure_tree.resolve(NAMES)
    found = result.set_xindex("acronym").sel(acronym=NAMES)
    assert found.structure.values.tolist() == ids
    xr.testing.assert_equal(
        found.drop_vars("acronym"), result.sel(structure=ids).drop_vars("acronym")
    )
    one = result.set_xindex("acronym").sel(acronym="VISp")
    assert "structure" not in one.dims


@pytest.mark.filterwarnings("ignore:The data type .* does not have a Zarr V3 specification")
def test_what_is_read_again_is_selected_alike(space: refspace.ReferenceSpace, tmp_path) -> None:
    counts = space.voxel_counts().drop_attrs()
    counts.to_zarr(tmp_path / "counts.zarr", consolidated=False)
    counts.to_netcdf(tmp_path / "counts.nc")
    with (
        xr.open_zarr(tmp_path / "counts.zarr", consolidated=False) as zarr,
        xr.open_dataset(tmp_path / "counts.nc") as netcdf,
    ):
        for again in (zarr, netcdf):
            found = again.set_xindex("acronym").total.sel(acronym="VISp")
            assert int(found) == space.total_voxel_map[385]


def test_results_of_different_structures_are_joined_by_id(space: refspace.ReferenceSpace) -> None:
    # With acronyms as a second index from the start, xarray would refuse this.
    some = space.region_properties(NAMES).volume
    all_of_them = space.voxel_counts().volume
    np.testing.assert_allclose((some / all_of_them).sel(structure=[315, 385, 549]), 1)
    joined = xr.concat([some, all_of_them], "animal", join="outer")
    assert joined.sizes["structure"] == len(space.structure_tree)
