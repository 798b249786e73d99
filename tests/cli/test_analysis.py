"""Commands that bring images, points and other volumes to an atlas, as a user types them."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from click.testing import Result
from helpers import commands

import refspace
from refspace import sources
from refspace.samples.measurements import cells, expression
from refspace.store.images import open_image


@pytest.fixture(scope="module")
def space() -> refspace.ReferenceSpace:
    return refspace.phantom(400)


@pytest.fixture(scope="module")
def image(space: refspace.ReferenceSpace) -> xr.DataArray:
    return expression(space.grid, 800)


@pytest.fixture(scope="module")
def folder(
    space: refspace.ReferenceSpace, image: xr.DataArray, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Atlas as files and as a store, an image and points; not to be changed."""
    made = tmp_path_factory.mktemp("atlas")
    refspace.write_nrrd(made / "annotation.nrrd", space.annotation)
    refspace.write_structures(made / "structures.json", space.structure_tree)
    refspace.write_nrrd(made / "image.nrrd", image)
    refspace.convert(
        made / "annotation.nrrd", made / "structures.json", made / "atlas.zarr", chunks=20
    )
    cells(space.grid, 300).to_csv(made / "cells.csv", index=False)
    return made


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(seed=0)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*words: object, code: int = 0) -> Result:
    result = commands.run(*words)
    assert result.exit_code == code, result.output
    return result


def failure(*words: object, code: int = 1) -> str:
    """What an error says, once it is known that nothing was written."""
    before = set(Path().iterdir())
    result = run(*words, code=code)
    assert isinstance(result.exception, SystemExit)
    assert set(Path().iterdir()) == before
    return result.stderr.splitlines()[-1]


def rows(result: Result) -> dict[int, list[str]]:
    """Cells of a printed table by structure, without the names."""
    lines = [line.split() for line in result.stdout.splitlines()]
    return {int(cells[0]): cells for cells in lines if cells[0].isdecimal()}


# ----- counts


def test_counts_of_regions(folder: Path, space: refspace.ReferenceSpace) -> None:
    tree = space.structure_tree
    run("counts", folder / "atlas.zarr", "--depth", 3, "-o", "a.parquet")
    table = pd.read_parquet("a.parquet").set_index("structure")
    assert table.index.tolist() == [*tree.regions(depth=3).labels]
    assert table["total"].to_dict() == {i: space.total_voxel_map[i] for i in table.index}
    shown = rows(run("counts", folder / "atlas.zarr", "--depth", 3))
    assert [*shown] == table.index[table["total"] > 0].tolist()
    summary = 167587189
    run("counts", folder / "atlas.zarr", "--structure-set", summary, "-o", "b.tsv")
    chosen = tree.regions(structure_set=summary).labels
    assert pd.read_csv("b.tsv", sep="\t")["structure"].tolist() == [*chosen]
    run("counts", folder / "atlas.zarr", "--depth", "leaves", "-o", "c.csv")
    leaves = tree.regions("leaves").labels
    assert pd.read_csv("c.csv")["structure"].tolist() == [*leaves]


def test_counts_of_hemispheres(folder: Path, space: refspace.ReferenceSpace) -> None:
    words = ["counts", folder / "atlas.zarr", "-s", "TH,VISp,FRP6b"]
    run(*words, "--by-hemisphere", "-o", "both.csv")
    both = pd.read_csv("both.csv")
    assert list(both)[:4] == ["structure", "acronym", "name", "hemisphere"]
    assert both["hemisphere"].tolist() == ["left", "right"] * 3
    for side in ("left", "right"):
        run(*words, "--hemisphere", side, "-o", f"{side}.csv")
        one = pd.read_csv(f"{side}.csv")
        counts = space.hemisphere(side).total_voxel_map
        assert one["structure"].tolist() == [549, 385, 526322264]
        assert one["total"].tolist() == [counts[i] for i in (549, 385, 526322264)]
        rest = both[both["hemisphere"] == side].drop(columns="hemisphere")
        pd.testing.assert_frame_equal(rest.reset_index(drop=True), one)
    printed = run(*words[:2], "--by-hemisphere").stdout.splitlines()
    assert printed[0].split()[:4] == ["structure", "acronym", "name", "hemisphere"]
    assert {side for line in printed[1:] for side in ("left", "right") if f" {side} " in line} == {
        "left",
        "right",
    }


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--depth", "x"), 2, "'x' is no depth like 5, nor 'leaves'"),
        (("--depth", "leaf"), 2, "'leaf' is no depth like 5, nor 'leaves'"),
        (("--depth", "77"), 1, "depth is 77; give a depth from 0"),
        (("--depth", "2", "-s", "TH"), 2, "give one of --structures, --depth and --structure-set"),
        (("--depth", "leaves", "-s", "TH"), 2, "give one of --structures, --depth and --struct"),
        (("--depth", "0", "--structure-set", "1"), 2, "give one of --structures, --depth and --s"),
        (("-s", "leaves"), 1, "no structure has acronym, name or id 'leaves'"),
        (("--structure-set", "1"), 1, "no structure is in set 1"),
        (("-o", "a.csv.gz"), 1, "a.csv.gz does not end in .csv, .tsv or .parquet"),
        (("-o", "no/a.csv"), 1, "no does not exist; make it, then try again"),
    ],
)
def test_misnamed_regions_and_tables(
    folder: Path, words: tuple[str, ...], code: int, said: str
) -> None:
    assert said in failure("counts", folder / "atlas.zarr", *words, code=code)


def test_a_structure_set_may_be_named_with_others(folder: Path) -> None:
    words = ["--structure-set", 167587189, "--structure-set", 687527670]
    run("counts", folder / "atlas.zarr", *words, "-o", "a.csv")
    run("counts", folder / "atlas.zarr", *words[:2], "-o", "b.csv")
    assert len(pd.read_csv("a.csv")) > len(pd.read_csv("b.csv"))


@pytest.mark.parametrize("command", ["counts", "points", "aggregate", "compare"])
def test_parquet_needs_pyarrow(folder: Path, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    more = {"points": ["cells.csv"], "aggregate": ["image.nrrd"], "compare": ["annotation.nrrd"]}
    words = [folder / name for name in ("atlas.zarr", *more.get(command, []))]
    said = failure(command, *words, "-o", "a.parquet")
    assert "pip install pyarrow" in said


# ----- aggregate


@pytest.mark.parametrize("atlas", [["annotation.nrrd", "structures.json"], ["atlas.zarr"]])
def test_aggregate_writes_what_the_verb_says(
    folder: Path, space: refspace.ReferenceSpace, image: xr.DataArray, atlas: list[str]
) -> None:
    words = [folder / name for name in (*atlas, "image.nrrd")]
    run("aggregate", *words, "--quantiles", "0.05,.5", "-o", "a.csv")
    table = pd.read_csv("a.csv", index_col="structure")
    names = ["count", "mean", "std", "min", "max"]
    assert list(table) == ["image", "acronym", "name", *names, "q0.05", "q0.5", "covered"]
    assert set(table["image"]) == {str(folder / "image.nrrd")}
    expected = space.aggregate(image, quantiles=[0.05, 0.5]).compute()
    assert table.index.tolist() == expected.structure.values.tolist()
    for name in names:
        np.testing.assert_allclose(table[name], expected[name], rtol=1e-12)
    np.testing.assert_allclose(table["q0.5"], expected.quantiles.sel(quantile=0.5))
    assert table["acronym"][385] == "VISp"


def test_aggregate_prints_structures(
    folder: Path, space: refspace.ReferenceSpace, image: xr.DataArray
) -> None:
    words = [folder / "atlas.zarr", folder / "image.nrrd"]
    result = run("aggregate", *words, "-s", "TH,VISp,FRP6b", "--statistics", "mean, sum")
    header = ["structure", "image", "acronym", "name", "mean", "sum", "covered"]
    assert result.stdout.split("\n")[0].split() == header
    found, expected = rows(result), space.aggregate(image, ["TH", "VISp"]).compute()
    assert [*found] == [549, 385, 526322264]
    assert [float(found[i][-3]) for i in (549, 385)] == pytest.approx(expected["mean"], rel=1e-4)
    assert result.stderr.startswith("statistics of the images … ")
    every = rows(run("aggregate", *words))
    counts = space.aggregate(image, statistics="count")["count"].compute()
    assert [*every] == counts.structure[counts > 0].values.tolist()


def test_aggregate_of_a_part(
    folder: Path, space: refspace.ReferenceSpace, image: xr.DataArray
) -> None:
    valid = (image > 5).astype("u1")
    refspace.write_nrrd("valid.nrrd", valid)
    words = ["--hemisphere", "left", "--direct-only", "--valid", "valid.nrrd"]
    run("aggregate", folder / "atlas.zarr", folder / "image.nrrd", *words, "-o", "a.tsv")
    table = pd.read_csv("a.tsv", sep="\t")
    regions = space.structure_tree.regions(direct_only=True)
    expected = space.hemisphere("left").aggregate(image, regions, valid=valid).compute()
    np.testing.assert_array_equal(table["count"], expected["count"])
    np.testing.assert_allclose(table["mean"], expected["mean"])


def test_aggregate_by_hemisphere(
    folder: Path, space: refspace.ReferenceSpace, image: xr.DataArray
) -> None:
    words = ["aggregate", folder / "atlas.zarr", folder / "image.nrrd", "--by-hemisphere"]
    run(*words, "--depth", 3, "-o", "a.csv")
    table = pd.read_csv("a.csv")
    assert list(table)[:5] == ["image", "structure", "acronym", "name", "hemisphere"]
    regions = space.structure_tree.regions(depth=3)
    expected = space.aggregate(image, regions, by_hemisphere=True).compute()
    assert table["structure"].tolist() == np.repeat(expected.structure.values, 2).tolist()
    assert table["hemisphere"].tolist() == ["left", "right"] * len(regions)
    np.testing.assert_array_equal(table["count"], expected["count"].values.ravel())
    np.testing.assert_allclose(table["mean"], expected["mean"].values.ravel())
    printed = run(*words, "-s", "TH").stdout.splitlines()
    assert [line.split()[0] for line in printed] == ["structure", "549", "549"]
    assert ["left" in printed[1].split(), "right" in printed[2].split()] == [True, True]


@pytest.mark.parametrize("choice", [["--depth", "leaves"], ["--depth", 3, "--direct-only"]])
def test_aggregate_of_regions(
    folder: Path, space: refspace.ReferenceSpace, image: xr.DataArray, choice: list[object]
) -> None:
    run("aggregate", folder / "atlas.zarr", folder / "image.nrrd", *choice, "-o", "a.csv")
    tree = space.structure_tree
    regions = tree.regions(depth=3, direct_only=True) if 3 in choice else tree.regions("leaves")
    expected = space.aggregate(image, regions).compute()
    table = pd.read_csv("a.csv")
    assert table["structure"].tolist() == expected.structure.values.tolist()
    np.testing.assert_array_equal(table["count"], expected["count"])
    np.testing.assert_allclose(table["mean"], expected["mean"])


def test_leading_dims_become_columns(
    folder: Path, space: refspace.ReferenceSpace, image: xr.DataArray
) -> None:
    both = xr.concat([image, 2 * image], pd.Index(["red", "green"], name="channel"))
    xr.Dataset({"energy": both, "other": image}).to_zarr("image.zarr", zarr_format=2)
    words = [folder / "atlas.zarr", "image.zarr", "-s", "TH,CP"]
    assert "image.zarr has several variables over ap, dv, ml; choose one" in failure(
        "aggregate", *words
    )
    assert "image.zarr has no variable 'x'; it has energy, other" in failure(
        "aggregate", *words, "--variable", "x"
    )
    run("aggregate", *words, "--variable", "energy", "--quantiles", "0.5", "-o", "a.csv")
    table = pd.read_csv("a.csv")
    assert list(table)[:5] == ["image", "structure", "acronym", "name", "channel"]
    assert table["channel"].tolist() == ["red", "green"] * 2
    expected = space.aggregate(image, ["TH", "CP"])["mean"].compute()
    np.testing.assert_allclose(table["mean"][1::2], 2 * expected)


def test_an_image_that_lies_elsewhere(
    folder: Path, space: refspace.ReferenceSpace, image: xr.DataArray
) -> None:
    same = xr.DataArray(space.annotation.data % 50, space.annotation.coords, space.annotation.dims)
    far = same.astype("u1").assign_coords(ap=same.ap + 1e5)
    refspace.write_nifti("far.nii", far.assign_coords(ap=far.ap.assign_attrs(same.ap.attrs)))
    words = ["aggregate", folder / "atlas.zarr", "far.nii"]
    said = failure(*words)
    assert "the image lies elsewhere: its ap runs from" in said
    assert "--same-grid takes voxel i of an image for voxel i of the annotation" in said
    run(*words, "--same-grid", "-o", "a.csv")
    expected = space.aggregate(same, statistics="mean")["mean"].compute()
    np.testing.assert_allclose(pd.read_csv("a.csv")["mean"], expected)
    # Voxel by voxel, whatever its axes are called.
    named = xr.DataArray(same.data, dims=("ml", "ap", "dv"), name="energy")
    named.to_dataset().to_zarr("named.zarr", zarr_format=2)
    run("aggregate", folder / "atlas.zarr", "named.zarr", "--same-grid", "-o", "b.csv")
    assert Path("b.csv").read_text().replace("named.zarr", "far.nii") == Path("a.csv").read_text()
    said = failure("aggregate", folder / "atlas.zarr", folder / "image.nrrd", "--same-grid")
    assert "the image has shape (16, 10, 14); the annotation (33, 20, 28)" in said


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("{0}/no.nrrd",), 2, "no.nrrd does not exist; give a file of a volume"),
        (
            ("{0}",),
            2,
            "is a folder, and no zarr store, but holds some, {0}/atlas.zarr; give a file",
        ),
        (("no.zarr",), 1, "there is no zarr store at no.zarr"),
        (("{0}/atlas.zarr",), 1, "atlas.zarr is a store without a template; give an image"),
        (("{0}/image.nrrd", "--statistics", "median"), 1, "there is no statistic 'median'"),
        (("{0}/image.nrrd", "--quantiles", "1;2"), 2, "'1;2' are no shares like 0.05,0.5,0.95"),
        (("{0}/image.nrrd", "--quantiles", "5"), 1, "give shares from 0 to 1"),
        (("{0}/image.nrrd", "-o", "{0}/image.nrrd"), 1, "image.nrrd does not end in .csv, .tsv or"),
        (("{0}/image.nrrd", "--image-resolution", "9"), 1, "contradicts the header"),
        (("{0}/image.nrrd", "--valid", "no.nrrd"), 2, "no.nrrd does not exist"),
    ],
)
def test_misuse_of_aggregate(folder: Path, words: tuple[str, ...], code: int, said: str) -> None:
    given = (word.format(folder) for word in words)
    assert said.format(folder) in failure("aggregate", folder / "atlas.zarr", *given, code=code)


# ----- images in zarr


def test_a_template_is_an_image(folder: Path, space: refspace.ReferenceSpace) -> None:
    template = space.annotation.copy(data=space.annotation.data % 251).astype("u1")
    refspace.write_nrrd("template.nrrd", template)
    atlas = [folder / "annotation.nrrd", folder / "structures.json"]
    refspace.convert(*atlas, "a.zarr", template="template.nrrd", chunks=20)
    run("aggregate", "a.zarr", "a.zarr", "-o", "a.csv")
    expected = space.aggregate(template, statistics="mean")["mean"].compute()
    np.testing.assert_allclose(pd.read_csv("a.csv")["mean"], expected)
    assert open_image("a.zarr", resolution=800).shape == (16, 10, 14)
    bare = open_image("a.zarr", shape=(16, 10, 14))
    assert bare.shape == (16, 10, 14)
    assert not bare.coords
    run("aggregate", "a.zarr", "a.zarr", "--same-grid", "-o", "b.csv")
    assert Path("a.csv").read_text() == Path("b.csv").read_text()
    assert open_image("a.zarr/s0", variable="template").ap.equals(template.ap)


def write_ome(url: str, pyramid: list[np.ndarray], unit: str | None = "micrometer") -> None:
    """OME-Zarr image over c, z, y and x, whose first level has voxels of 400 µm."""
    group = zarr.open_group(url, mode="w", zarr_format=2)
    levels = []
    for number, array in enumerate(pyramid):
        group.create_array(str(number), data=array, chunks=(1, 7, 7, 7))
        scale = [1.0, *[400.0 * 2**number] * 3]
        # The centre of the first voxel.
        moved = [0.0, *[length / 2 for length in scale[1:]]]
        transforms = [
            {"type": "scale", "scale": scale},
            {"type": "translation", "translation": moved},
        ]
        levels.append({"path": str(number), "coordinateTransformations": transforms})
    space = [{"name": n, "type": "space"} | ({"unit": unit} if unit else {}) for n in "zyx"]
    axes = [{"name": "c", "type": "channel"}, *space]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": levels}]


def test_an_ome_image_of_several_channels(
    folder: Path, space: refspace.ReferenceSpace, rng: np.random.Generator
) -> None:
    fine = rng.integers(0, 99, (2, 33, 20, 28), "u2")
    write_ome("image.zarr", [fine, fine[:, ::2, ::2, ::2]])
    words = ["aggregate", folder / "atlas.zarr", "image.zarr"]
    said = failure(*words)
    assert said.startswith("Error: image.zarr: the axes do not state in which directions they run")
    assert "give --image-orientation, " in said
    assert "--image-resolution and --image-orientation say of an image what it does not" in said
    run(*words, "--image-orientation", "PIR", "-o", "a.csv")
    run(*words, "--same-grid", "-o", "b.csv")
    assert Path("a.csv").read_text() == Path("b.csv").read_text()
    table = pd.read_csv("a.csv")
    assert list(table)[4] == "c"
    expected = space.aggregate(fine, statistics="sum").compute()["sum"].values
    np.testing.assert_allclose(table["mean"].fillna(0) * table["count"], expected.ravel())
    run(*words, "--image-orientation", "PIR", "--image-resolution", 800, "-o", "c.csv")
    assert pd.read_csv("c.csv")["count"].max() < table["count"].max() / 7
    assert open_image("image.zarr", shape=(17, 10, 14)).dims == ("c", "z", "y", "x")


def test_an_ome_image_without_units(rng: np.random.Generator) -> None:
    write_ome("image.zarr", [rng.random((1, 4, 4, 4))], unit=None)
    image = open_image("image.zarr", resolution=25, orientation="PIR")
    assert image.dims == ("c", "ap", "dv", "ml")
    assert image.ap.values.tolist() == [12.5, 37.5, 62.5, 87.5]


def test_a_bare_array_is_on_the_grid_of_the_annotation(
    folder: Path, space: refspace.ReferenceSpace, rng: np.random.Generator
) -> None:
    values = rng.random(space.grid.shape)
    zarr.create_array("a.zarr", data=values, chunks=(9, 9, 9))
    run("aggregate", folder / "atlas.zarr", "a.zarr", "-o", "a.csv")
    expected = space.aggregate(values, statistics="mean")["mean"].compute()
    np.testing.assert_allclose(pd.read_csv("a.csv")["mean"], expected)
    placed = open_image("a.zarr", resolution=400)
    assert placed.ap.equals(space.annotation.ap)
    zarr.create_array("plane.zarr", data=values[0], chunks=(9, 9))
    said = failure("aggregate", folder / "atlas.zarr", "plane.zarr")
    assert "the image has dims dim_0, dim_1; rename its axes to ap, dv, ml" in said


def test_masked_values_do_not_count(folder: Path, space: refspace.ReferenceSpace) -> None:
    values = np.ones(space.grid.shape, "i2")
    values[:10] = -1
    image = xr.DataArray(values, space.annotation.coords, space.annotation.dims, "a")
    image.to_dataset().to_zarr("a.zarr", zarr_format=2, encoding={"a": {"_FillValue": -1}})
    run("aggregate", folder / "atlas.zarr", "a.zarr", "-s", "root", "-o", "a.csv")
    (row,) = pd.read_csv("a.csv").to_dict("records")
    assert row["min"] == 1
    inside = space.make_structure_mask("root").values
    assert row["count"] == inside[10:].sum()


def test_an_image_at_a_url(
    folder: Path, space: refspace.ReferenceSpace, image: xr.DataArray
) -> None:
    url = "memory://images/energy"
    image.rename("energy").to_dataset().to_zarr(url, zarr_format=2, consolidated=True)
    run("aggregate", folder / "atlas.zarr", url, "-o", "a.csv")
    expected = space.aggregate(image, statistics="mean")["mean"].compute()
    np.testing.assert_allclose(pd.read_csv("a.csv")["mean"], expected)


def test_what_is_no_image(folder: Path) -> None:
    zarr.open_group("a.zarr", mode="w").create_array("x", shape=(2,), dtype="u1")
    said = failure("aggregate", folder / "atlas.zarr", "a.zarr")
    assert "a.zarr is neither an image of OME-Zarr, nor a group of a variable over ap, dv" in said
    xr.Dataset({"x": ("time", [1])}).to_zarr("d.zarr", zarr_format=2)
    said = failure("aggregate", folder / "atlas.zarr", "d.zarr")
    assert "nor a group of a variable over ap, dv, ml; its variables are x" in said
    write_ome("b.zarr", [np.zeros((1, 2, 2, 2))])
    group = zarr.open_group("b.zarr", mode="a")
    del group["0"]
    assert "there is no array '0'" in failure("aggregate", folder / "atlas.zarr", "b.zarr")
    group.create_group("0")
    assert "0 is a group, and no array" in failure("aggregate", folder / "atlas.zarr", "b.zarr")
    Path("c.zarr").mkdir()
    Path("c.zarr/zarr.json").write_text("{")
    assert "c.zarr: zarr.json is no JSON" in failure("aggregate", folder / "atlas.zarr", "c.zarr")


# ----- points


def test_points(folder: Path, space: refspace.ReferenceSpace) -> None:
    words = ["points", folder / "atlas.zarr", folder / "cells.csv"]
    result = run(*words, "-o", "a.csv")
    table = pd.read_csv("a.csv")
    assert list(table) == ["structure", "acronym", "name", "points", "density_per_mm3"]
    expected = space.count_points(cells(space.grid, 300)).compute()
    np.testing.assert_array_equal(table["points"], expected.points)
    np.testing.assert_allclose(table["density_per_mm3"], expected.density)
    told = f"{int(expected.outside)} outside the volume"
    assert f"of 300 points: {int(expected.unassigned)} in voxels of no " in result.stderr
    assert told in result.stderr
    printed = rows(run(*words))
    assert [*printed] == expected.structure[expected.points > 0].values.tolist()
    assert rows(run(*words, "-s", "TH"))[549][-2:] == ["0", "0.000"]


def test_points_by_hemisphere(folder: Path, space: refspace.ReferenceSpace) -> None:
    words = [folder / "atlas.zarr", folder / "cells.csv", "--by-hemisphere", "--depth", 5]
    run("points", *words, "-o", "a.parquet")
    table = pd.read_parquet("a.parquet")
    assert list(table)[:4] == ["structure", "acronym", "name", "hemisphere"]
    points = cells(space.grid, 300)
    regions = space.structure_tree.regions(depth=5)
    expected = space.count_points(points, regions, by_hemisphere=True).points.compute()
    np.testing.assert_array_equal(table["points"], expected.values.ravel())


def test_points_of_other_columns_and_units(folder: Path, space: refspace.ReferenceSpace) -> None:
    points = cells(space.grid, 300) / 1000
    points.columns = ["x", "y", "z"]
    points[["z", "x", "y"]].to_csv("mm.tsv", index=False, sep="\t")
    words = ["--columns", "x,y,z", "--unit", "mm"]
    run("points", folder / "atlas.zarr", "mm.tsv", *words, "-o", "a.csv")
    run("points", folder / "atlas.zarr", folder / "cells.csv", "-o", "b.csv")
    assert Path("a.csv").read_text() == Path("b.csv").read_text()


POINTS = """id,ap,dv,ml,note
007,7000,3300,4500,"a, b"
8,-1,0,0,NA
9,,1,1,
10,0,0,0,"""


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_each_point(folder: Path, space: refspace.ReferenceSpace, ending: str) -> None:
    Path("in.csv").write_text(POINTS)
    result = run("points", folder / "atlas.zarr", "in.csv", "--each", f"out{ending}")
    assert "wrote out" in result.stdout
    inside = int(space.structure_at(np.array([[7000.0, 3300, 4500]]))[0])
    node = space.structure_tree.nodes([inside])[0]
    name = f'"{node["name"]}"' if "," in node["name"] else node["name"]
    if ending == ".csv":
        assert Path("out.csv").read_text().splitlines() == [
            "id,ap,dv,ml,note,structure,acronym,name,status",
            f'007,7000,3300,4500,"a, b",{inside},{node["acronym"]},{name},structure',
            "8,-1,0,0,NA,,,,outside",
            "9,,1,1,,,,,missing",
            "10,0,0,0,,,,,background",
        ]
        return
    table = pd.read_parquet("out.parquet")
    assert table["ap"].dtype == np.float64
    assert table["structure"].isna().tolist() == [False, True, True, True]
    assert table["status"].tolist() == ["structure", "outside", "missing", "background"]


def test_each_point_of_regions(folder: Path) -> None:
    Path("in.csv").write_text(POINTS)
    run("points", folder / "atlas.zarr", "in.csv", "--each", "out.csv", "-s", "root")
    table = pd.read_csv("out.csv", keep_default_na=False)
    assert table["acronym"].tolist() == ["root", "", "", ""]
    assert table["status"].tolist() == ["structure", "outside", "missing", "unassigned"]


def test_each_point_of_unknown_ids(folder: Path) -> None:
    tree = refspace.StructureTree([{"id": 997, "acronym": "root", "structure_id_path": [997]}])
    refspace.write_structures("root.json", tree)
    Path("in.csv").write_text(POINTS)
    words = [folder / "annotation.nrrd", "root.json", "in.csv"]
    run("points", *words, "--each", "out.csv")
    table = pd.read_csv("out.csv", keep_default_na=False)
    assert table["status"].tolist() == ["unknown", "outside", "missing", "background"]


def test_each_point_by_hemisphere(folder: Path) -> None:
    positions = [[7000.0, 3300, 4500], [7000, 3300, 6900], [0, 0, 0]]
    pd.DataFrame(positions, columns=["ap", "dv", "ml"]).to_csv("in.csv", index=False)
    words = ["points", folder / "atlas.zarr", "in.csv", "--by-hemisphere"]
    run(*words, "--each", "out.csv")
    table = pd.read_csv("out.csv", keep_default_na=False)
    assert table["hemisphere"].tolist() == ["left", "right", ""]
    table.to_csv("in.csv", index=False)
    said = "in.csv has columns structure, acronym, name, status, hemisphere already"
    assert said in failure(*words, "--each", "b.csv", code=2)


@pytest.mark.parametrize(
    ("text", "words", "said"),
    [
        (
            "-1,0,0\n0,-5,99999\n",
            (),
            "all 2 points are outside the volume: they have ap from -1 to",
        ),
        (
            "-1,0,0\nnan,1,1\n",
            (),
            "all 1 points are outside the volume: they have ap from -1 to -1",
        ),
        ("nan,0,0\n", (), "none of 1 points is in a structure; check --unit and --columns"),
        ("1,1,1\n2,2,2\n", (), "none of 2 points is in a structure; check --unit"),
        ("nan,0,0\n1,1,1\n", ("-s", "TH"), "none of 2 points is in a structure"),
    ],
)
def test_points_that_are_nowhere(
    folder: Path, text: str, words: tuple[str, ...], said: str
) -> None:
    Path("in.csv").write_text("ap,dv,ml\n" + text)
    words = ("points", folder / "atlas.zarr", "in.csv", *words)
    assert said in failure(*words, "--each", "a.csv", "-o", "b.csv")


def test_points_in_other_structures_are_counted_as_none(folder: Path) -> None:
    Path("in.csv").write_text("ap,dv,ml\n7000,3300,4500\n")
    result = run("points", folder / "atlas.zarr", "in.csv", "-s", "VISp", "-o", "a.csv")
    assert pd.read_csv("a.csv")["points"].tolist() == [0]
    assert "of 1 points: 1 in voxels of no region" in result.stderr


def test_no_points(folder: Path) -> None:
    Path("in.csv").write_text("ap,dv,ml\n")
    result = run("points", folder / "atlas.zarr", "in.csv", "--each", "out.csv", "-o", "a.csv")
    assert "of 0 points" not in result.stderr
    assert Path("out.csv").read_text() == "ap,dv,ml,structure,acronym,name,status\n"
    assert pd.read_csv("a.csv")["points"].sum() == 0
    assert run("points", folder / "atlas.zarr", "in.csv").stdout == "no structure has any\n"


@pytest.mark.parametrize(
    ("text", "words", "code", "said"),
    [
        ("x,y,w\n1,2,3\n", (), 1, "in.csv has no column ap; its columns are x, y, w"),
        ("x,y\n1,2\n", ("--columns", "x,y"), 2, "--columns names 2 columns; a position has three"),
        ("ap,dv,ml\n1,2,3\n1,2,x\n", (), 1, "column ml holds 'x' in row 2 below the header"),
        ("", (), 1, "in.csv is no table that can be read"),
        ("ap,dv,ml,status\n", ("--each", "a.csv"), 2, "in.csv has columns status already"),
        ("ap,dv,ml\n", ("--each", "in.csv"), 2, "in.csv would be overwritten"),
        ("ap,dv,ml\n", ("--each", "a.csv", "-o", "a.csv"), 2, "a.csv would be overwritten"),
        ("ap,dv,ml\n", ("--each", "a.xls"), 1, "a.xls does not end in .csv"),
        ("ap,dv,ml\n", ("-s", "VISpp"), 1, "did you mean VISp"),
    ],
)
def test_misuse_of_points(
    folder: Path, text: str, words: tuple[str, ...], code: int, said: str
) -> None:
    Path("in.csv").write_text(text)
    assert said in failure("points", folder / "atlas.zarr", "in.csv", *words, code=code)


def test_points_of_no_known_format(folder: Path) -> None:
    Path("in.txt").write_text("ap,dv,ml\n")
    assert "in.txt does not end in .csv" in failure("points", folder / "atlas.zarr", "in.txt")
    assert "'no.csv' does not exist" in failure("points", folder / "atlas.zarr", "no.csv", code=2)


# ----- compare


def test_compare(folder: Path, space: refspace.ReferenceSpace) -> None:
    moved = space.annotation.copy(data=space.annotation.roll(ap=1).data)
    refspace.write_nrrd("moved.nrrd", moved)
    words = ["compare", folder / "atlas.zarr", "moved.nrrd"]
    result = run(*words, "-o", "a.csv", "--confusion", "b.parquet")
    found = space.compare(moved)
    assert result.stdout == f"{found}\nwrote b.parquet\nwrote a.csv\n"
    table = pd.read_csv("a.csv", index_col="structure")
    assert list(table)[:2] == ["acronym", "name"]
    np.testing.assert_allclose(table["dice"], found.structures.dice)
    np.testing.assert_allclose(table["volume_mm3"], found.structures.volume)
    assert pd.read_parquet("b.parquet").equals(found.confusion)
    shown = rows(run(*words, "-s", "VISp,TH"))
    assert [*shown][-2:] == [385, 549]
    run(*words, "--depth", "leaves", "-o", "c.csv")
    leaves = found.at(space.structure_tree.regions("leaves"))
    of_leaves = pd.read_csv("c.csv")
    assert of_leaves["structure"].tolist() == leaves.structure.values.tolist()
    np.testing.assert_array_equal(of_leaves["common"], leaves.common)


def test_compare_with_other_structures(folder: Path, space: refspace.ReferenceSpace) -> None:
    node = {"id": 672, "acronym": "x", "name": "y", "rgb_triplet": [1, 2, 3]}
    tree = refspace.StructureTree([node | {"structure_id_path": [672]}])
    refspace.write_structures("tree.json", tree)
    other = refspace.ReferenceSpace(tree, space.annotation)
    found = space.compare(other).structures
    for path in ("annotation.nrrd", "atlas.zarr"):
        words = [folder / "atlas.zarr", folder / path, "--other-structures", "tree.json"]
        run("compare", *words, "-o", "a.csv", "--overwrite")
        table = pd.read_csv("a.csv")
        np.testing.assert_array_equal(table["other_voxels"], found.other_voxels)


def test_compare_with_the_level_of_a_store(folder: Path) -> None:
    words = ["compare", folder / "atlas.zarr", folder / "atlas.zarr", "--resolution", 800]
    assert run(*words).stdout.startswith("0 of 2240 voxels changed: 100.00% agree")
    array = np.asarray(refspace.open(folder / "atlas.zarr").annotation)
    zarr.create_array("bare.zarr", data=array, chunks=(9, 9, 9))
    result = run("compare", folder / "atlas.zarr", "bare.zarr")
    assert result.stdout.startswith("0 of 18480 voxels changed")


def test_compare_with_an_atlas_by_name(
    folder: Path, space: refspace.ReferenceSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def opened(name: str, **options: object) -> refspace.ReferenceSpace:
        asked.append((name, options["resolution"]))
        return space

    monkeypatch.setattr(sources, "open", opened)
    files = [folder / "annotation.nrrd", folder / "structures.json"]
    for more in ((), ("--same-grid",)):
        result = run("compare", *files, "allen:ccf_2017", "--resolution", 400, *more)
        assert result.stdout.startswith("0 of 18480 voxels changed")
    assert asked == [("allen:ccf_2017", 400)] * 2


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("{0}/image.nrrd",), 1, "the other volume has shape (16, 10, 14)"),
        (("no.nrrd",), 2, "no.nrrd does not exist; give a file of a volume"),
        (("{0}/atlas.zarr", "-o", "{0}/structures.json"), 1, "does not end in .csv"),
        (("{0}/annotation.nrrd", "-o", "{0}/annotation.nrrd"), 1, "does not end in .csv, .tsv or"),
        (("{0}/annotation.nrrd", "--other-structures", "x.json"), 2, "does not exist"),
    ],
)
def test_misuse_of_compare(folder: Path, words: tuple[str, ...], code: int, said: str) -> None:
    given = (word.format(folder) for word in words)
    assert said in failure("compare", folder / "atlas.zarr", *given, code=code)


def test_compare_with_another_grid(folder: Path, space: refspace.ReferenceSpace) -> None:
    refspace.write_nrrd("coarse.nrrd", space.downsample(800).annotation)
    said = failure("compare", folder / "atlas.zarr", "coarse.nrrd")
    assert "has shape (16, 10, 14), this one (33, 20, 28)" in said


# ----- validate


def test_validate(folder: Path, space: refspace.ReferenceSpace) -> None:
    result = run("validate", folder / "atlas.zarr", "-o", "found")
    found = space.validate()
    assert result.stdout == f"{found}\nwrote 5 tables into found\n"
    table = pd.read_csv("found/asymmetric.csv", index_col="structure")
    assert table["left"].tolist() == found.asymmetric["left"].tolist()
    assert pd.read_csv("found/unassigned.csv")["structure"].tolist() == [*found.unassigned]
    assert pd.read_csv("found/unknown.csv").empty
    again = run("validate", folder / "atlas.zarr", "--tolerance", 0.5, "--depth", 3)
    regions = space.structure_tree.regions(depth=3)
    assert again.stdout == f"{space.validate(regions, tolerance=0.5)}\n"


def test_validate_finds_unknown_ids(folder: Path) -> None:
    tree = refspace.StructureTree([{"id": 997, "acronym": "root", "structure_id_path": [997]}])
    refspace.write_structures("root.json", tree)
    result = run("validate", folder / "annotation.nrrd", "root.json", "-o", "found", code=1)
    assert "voxels hold ids that the structures lack" in result.stdout
    table = pd.read_csv("found/unknown.csv", index_col="id")
    space = refspace.open(folder / "annotation.nrrd", structures="root.json")
    unknown = space.validate().unknown
    assert table["voxels"].to_dict() == unknown["voxels"].to_dict()
    assert table["stop_ml_um"].tolist() == [corner[2] for corner in unknown["stop"]]


def test_validate_volumes_and_pieces(folder: Path, space: refspace.ReferenceSpace) -> None:
    Path("volumes.csv").write_text("structure,volume\nVISp,4\n549,99\nCP,\n")
    words = ["--volumes", "volumes.csv", "--connectivity", "-o", "found"]
    run("validate", folder / "atlas.zarr", *words)
    expected = space.validate(volumes={"VISp": 4, "TH": 99}, connectivity=True)
    table = pd.read_csv("found/deviating.csv")
    names = ["structure", "acronym", "name"]
    assert list(table) == [*names, "volume_mm3", "published_mm3", "deviation"]
    nodes = space.structure_tree.nodes(table["structure"].tolist())
    assert table["name"].tolist() == [node["name"] for node in nodes]
    np.testing.assert_allclose(table["deviation"], expected.deviating["deviation"])
    pieces = pd.read_csv("found/disconnected.csv")
    assert pieces["components"].tolist() == expected.disconnected["components"].tolist()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,volume\n1,2\n", "volumes.csv has no column structure; its columns are id, volume"),
        ("structure,volume\nVISp,large\n", "column volume holds 'large' in row 1 below the header"),
        ("structure,volume\nVISpp,3\n", "did you mean VISp"),
        ("structure,volume\nTH,3\nVISp,3\nVISp,4\n", "several volumes of structure VISp; give"),
        (
            "structure,hemisphere,volume_mm3\nTH,left,3\nTH,right,3\nTH,left,1\n",
            "volumes.csv has several volumes of structure TH; give one",
        ),
        ("structure,mm3\nVISp,3\n", "volumes.csv has no column volume; its columns are structure,"),
    ],
)
def test_volumes_that_are_none(folder: Path, text: str, said: str) -> None:
    Path("volumes.csv").write_text(text)
    words = ["--volumes", "volumes.csv", "-o", "found"]
    assert said in failure("validate", folder / "atlas.zarr", *words)


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet"])
@pytest.mark.parametrize("sides", [[], ["--by-hemisphere"]])
def test_volumes_that_counts_wrote(
    folder: Path, space: refspace.ReferenceSpace, ending: str, sides: list[str]
) -> None:
    table = f"counts.{ending}"
    run("counts", folder / "atlas.zarr", *sides, "-o", table)
    strict = ["--volumes", table, "--tolerance", "1e-9"]
    said = run("validate", folder / "atlas.zarr", *strict).stdout
    assert "structures of another volume than published" not in said
    coarse = space.downsample(800)
    refspace.write_nrrd("coarse.nrrd", coarse.annotation)
    run("validate", "coarse.nrrd", folder / "structures.json", *strict, "-o", "found")
    volumes = {i: n * 0.4**3 for i, n in space.total_voxel_map.items() if n}
    expected = coarse.validate(volumes=volumes, tolerance=1e-9).deviating
    found = pd.read_csv("found/deviating.csv").set_index("structure")
    assert len(found) > 100
    for name, column in (("volume_mm3", "volume"), ("published_mm3", "published")):
        values = found[name].reindex(expected.index)
        np.testing.assert_allclose(values, expected[column], rtol=1e-9)


def test_findings_are_not_written_over_what_is_read(folder: Path) -> None:
    Path("found").mkdir()
    Path("found/deviating.csv").write_text("structure,volume\nVISp,4\n")
    words = ["--volumes", "found/deviating.csv", "-o", "found"]
    said = failure("validate", folder / "atlas.zarr", *words, code=2)
    assert "deviating.csv would be overwritten" in said


# ----- help


@pytest.mark.parametrize("command", ["aggregate", "points", "compare", "validate"])
def test_help_needs_no_array_library(command: str) -> None:
    code = (
        "import sys; from refspace.cli import main\n"
        f"try: main(['{command}', '--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'xarray', 'dask', 'pandas', 'networkx', 'zarr'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f" {command} [OPTIONS] ANNOTATION [STRUCTURES]" in done.stdout
