"""What tells hemispheres apart, on the command line: said, stated in files, and overruled."""

import json
from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np
import pandas as pd
import pytest
import SimpleITK
import zarr
from helpers.commands import run

import refspace
from refspace.batch import AtlasReference, aggregate_images
from refspace.errors import AnnotationError, GridError, StoreError
from refspace.grid import Grid
from refspace.labels import labelled, stated_midline
from refspace.store.digests import metadata_digest

TREE = [
    {"id": 1, "acronym": "A", "name": "a", "structure_id_path": [1]},
    {"id": 2, "acronym": "B", "name": "b", "structure_id_path": [2]},
]
SHAPE = (12, 6, 4)
# Structure 1 in voxels 2 to 9 along x.
BRAIN = np.zeros(SHAPE, "u1")
BRAIN[2:10] = 1
PLANE = 24


def save(path: Path, voxels: np.ndarray, first: float) -> Path:
    """File of nibabel, voxels of 1 mm, the first of which is at x in mm."""
    affine = np.eye(4)
    affine[0, 3] = first
    nib.save(nib.Nifti1Image(voxels, affine), path)
    return path


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("tree.json").write_text(json.dumps(TREE))
    # 0 of the world is 2 mm off the middle of 12: beyond a tenth.
    save(Path("far.nii.gz"), BRAIN, -3.5)
    # One voxel off it.
    save(Path("near.nii.gz"), BRAIN, -4.5)
    sides = np.ones(SHAPE, "u1")
    sides[5:] = 2
    save(Path("sides.nii.gz"), sides, -3.5)
    save(Path("sides_near.nii.gz"), sides, -4.5)
    save(Path("threes.nii.gz"), sides + 1, -3.5)
    save(Path("ones.nii.gz"), np.ones(SHAPE, "u1"), -3.5)
    save(Path("elsewhere.nii.gz"), sides, 20.0)
    pd.DataFrame({"ml": [-1000, 0, 3000], "ap": [0] * 3, "dv": [0] * 3}).to_csv("p.csv")
    assert run("convert", "far.nii.gz", "tree.json", "far.zarr").exit_code == 0
    return tmp_path


def voxels_by_side(path: str) -> dict[str, int]:
    table = pd.read_csv(path)
    column = next(name for name in ("total", "points", "count") if name in table)
    return table[table["structure"] == 1].groupby("hemisphere")[column].sum().to_dict()


SOURCES = [("far.nii.gz", "tree.json"), ("far.zarr",)]
OWN = "a volume of hemispheres"
WAYS = {
    (): ("ml 2000 µm (the middle of the whole volume, 2000 µm from 0 of the world)", 4),
    ("--midline", "0"): ("ml 0 µm (given)", 2),
    ("--midline", "-1000"): ("ml -1000 µm (given)", 1),
    ("--hemispheres", "sides.nii.gz"): (OWN, 3),
}


@pytest.mark.parametrize("source", SOURCES, ids=["file", "store"])
@pytest.mark.parametrize("way", WAYS)
def test_tables_say_what_tells_sides_apart(files: Path, source, way) -> None:
    said, planes = WAYS[way]
    split = {"left": planes * PLANE, "right": (8 - planes) * PLANE}
    for words, expected in (
        (("counts", *source, "--by-hemisphere"), split),
        (("aggregate", *source, "far.nii.gz", "--by-hemisphere"), split),
    ):
        # What another command wrote is not replaced.
        Path("table.csv").unlink(missing_ok=True)
        result = run(*words, *way, "-o", "table.csv")
        assert result.exit_code == 0, result.output
        assert f"hemispheres: told apart by {'' if said == OWN else 'the midline at '}{said}" in (
            result.stderr
        )
        assert voxels_by_side("table.csv") == expected
    counted = run("counts", *source, "--hemisphere", "left", *way, "-o", "left.parquet")
    assert said in counted.stderr
    table = pd.read_parquet("left.parquet")
    assert table["direct"].tolist() == [split["left"]]
    assert table.attrs["hemisphere"] == "left"
    assert table.attrs.get("midline") == (None if said == OWN else float(said.split()[1]))


@pytest.mark.parametrize("source", SOURCES, ids=["file", "store"])
def test_points_and_validation(files: Path, source) -> None:
    words = ("points", *source, "p.csv", "--by-hemisphere", "-o", "t.csv", "--overwrite")
    result = run(*words, "--midline", "0")
    assert "ml 0 µm (given)" in result.stderr
    assert voxels_by_side("t.csv") == {"left": 1, "right": 2}
    run(*words)
    assert voxels_by_side("t.csv") == {"left": 2, "right": 1}
    found = run("validate", *source, "--midline", "0")
    assert "ml 0 µm (given)" in found.stderr
    assert "regions of unequal hemispheres: 1" in found.stdout
    assert "unequal" not in run("validate", *source).stdout


def test_results_that_depend_on_no_side_say_nothing(files: Path) -> None:
    for words in (("counts", "far.zarr"), ("mask", "far.zarr", "-s", "1", "-o", "m.nrrd")):
        assert "hemispheres" not in run(*words).stderr


# ----- files that are written


def test_masks_state_their_hemisphere_and_the_midline(files: Path) -> None:
    sided = ("--hemisphere", "right", "--midline", "1000")
    assert run("mask", "far.zarr", "-s", "1", *sided, "-o", "one.nrrd").exit_code == 0
    assert run("masks", "far.zarr", "-s", "1", *sided, "-o", "many").exit_code == 0
    nifti = ("--format", "nifti")
    assert (
        run("masks", "far.nii.gz", "tree.json", "-s", "1", *sided, *nifti, "-o", "more").exit_code
        == 0
    )
    for path in ("one.nrrd", "many/structure_1.nrrd"):
        header = nrrd.read_header(path)
        assert header["refspace_hemisphere"] == "right"
        assert float(header["refspace_midline_um"]) == 1000
        assert SimpleITK.ReadImage(path).GetMetaData("refspace_hemisphere") == "right"
    (extension,) = nib.load("more/structure_1.nii.gz").header.extensions
    assert json.loads(extension.get_content().rstrip(b"\0")) == {
        "refspace_midline_um": 1000.0,
        "refspace_hemisphere": "right",
        "refspace_frame": "RAS",
    }
    for path in ("one.nrrd", "many/structure_1.nrrd", "more/structure_1.nii.gz"):
        mask = refspace.formats.volumes.read_volume(path)
        assert (mask.attrs["hemisphere"], int(mask.sum())) == ("right", 5 * PLANE)
        assert stated_midline(mask).position == 1000


def test_masks_in_a_store_state_them_too(files: Path) -> None:
    assert (
        run("masks", "far.zarr", "-s", "1", "--hemisphere", "left", "-o", "l.zarr").exit_code == 0
    )
    left = refspace.open_masks("l.zarr")
    assert (left.attrs["hemisphere"], left.attrs["midline"]) == ("left", 2000.0)
    assert left.hemisphere.values.tolist() == ["left"] * 6 + ["right"] * 6
    assert run("masks", "far.zarr", "-s", "1", "-o", "both.zarr").exit_code == 0
    both = refspace.open_masks("both.zarr")
    assert "hemisphere" not in both.attrs
    assert stated_midline(both).position == 2000
    own = ("--hemisphere", "left", "--hemispheres", "sides.nii.gz")
    assert run("masks", "far.zarr", "-s", "1", *own, "-o", "own.zarr").exit_code == 0
    own_left = refspace.open_masks("own.zarr")
    assert own_left.attrs["hemispheres_from"] == "volume"
    assert "hemisphere" not in own_left.coords
    assert int(own_left.sum()) == 3 * PLANE


def test_masks_of_another_midline_are_other_masks(files: Path) -> None:
    words = ("masks", "far.zarr", "-s", "1", "-o", "many")
    assert "1 files" in run(*words).stdout
    assert "1 were there" in run(*words).stdout
    # The same voxels, but the files would state what is not so.
    other = run(*words, "--midline", "0")
    assert other.exit_code == 1
    assert "replace it with --overwrite" in other.output
    assert run(*words, "--midline", "0", "--overwrite").exit_code == 0
    assert nrrd.read_header("many/structure_1.nrrd")["refspace_midline_um"] == "0.0"
    data = Path("many/structure_1.nrrd").read_bytes()
    Path("many/structure_1.nrrd").write_bytes(
        data.replace(b"refspace_midline_um:=0.0\n", b"refspace_hemisphere:=left\n")
    )
    assert run(*words, "--midline", "0").exit_code == 1
    # What is left out has been changed too.
    Path("many/structure_1.nrrd").write_bytes(data.replace(b"refspace_midline_um:=0.0\n", b""))
    assert "was changed since it was written" in run(*words, "--midline", "0").output


@pytest.mark.parametrize("name", ["coarse.nrrd", "coarse.nii.gz", "coarse.zarr"])
@pytest.mark.parametrize("source", SOURCES, ids=["file", "store"])
def test_downsampling_keeps_the_midline(files: Path, source, name) -> None:
    for given_one, expected in (((), 2000), (("--midline", "3000"), 3000)):
        words = ("downsample", *source, "--to", "2000", "-o", name, "--overwrite", *given_one)
        assert run(*words).exit_code == 0
        if name.endswith(".zarr"):
            assert refspace.open(name).midline == expected
        else:
            assert stated_midline(refspace.formats.volumes.read_volume(name)).position == expected
    words = ("downsample", *source, "--to", "2000", "-o", name, "--overwrite")
    result = run(*words, "--hemispheres", "sides.nii.gz")
    if name.endswith(".zarr"):
        assert refspace.open(name).volume.hemispheres.volume is not None
    else:
        assert "has no room for --hemispheres; give the name of a .zarr store" in result.output


@pytest.mark.filterwarnings("default:the midline at")
def test_convert_is_told(files: Path) -> None:
    made = run("convert", "far.nii.gz", "tree.json", "a.zarr", "--midline", "1000")
    assert made.exit_code == 0
    assert "Warning" not in made.stderr
    assert refspace.open("a.zarr").volume.hemispheres.line.source == "given"
    wrong = run("convert", "far.nii.gz", "tree.json", "b.zarr", "--midline", "9000")
    assert (
        "Warning: the midline at ml 9000 µm leaves no voxel in the right hemisphere" in wrong.stderr
    )
    own = run("convert", "far.nii.gz", "tree.json", "c.zarr", "--hemispheres", "sides.nii.gz")
    assert own.exit_code == 0
    space = refspace.open("c.zarr")
    assert space.voxel_counts(by_hemisphere=True).total.values[0].tolist() == [3 * PLANE, 5 * PLANE]
    for name, said in (("ones", "is right"), ("threes", "holds 3")):
        bad = run("convert", "far.nii.gz", "tree.json", "d.zarr", "--hemispheres", f"{name}.nii.gz")
        assert bad.exit_code == 1
        assert said in bad.output
        assert not Path("d.zarr").exists()
    sides = refspace.read_nifti("ones.nii.gz")
    with pytest.raises(AnnotationError, match="is right"):
        refspace.convert("far.nii.gz", "tree.json", "d.zarr", hemispheres=sides)


# ----- info


def test_info_shows_the_midline(files: Path) -> None:
    said = "ml 2000 µm (the middle of the whole volume, 2000 µm from 0 of the world)"
    lines = run("info", "far.zarr").stdout.splitlines()
    assert f"midline {said}" in [" ".join(line.split()) for line in lines]
    facts = json.loads(run("info", "far.zarr", "--json").stdout)
    assert (facts["midline_um"], facts["hemispheres_from"]) == (2000.0, "midline")
    assert run("convert", "near.nii.gz", "tree.json", "near.zarr").exit_code == 0
    assert "0 of the world, 1000 µm from the middle" in run("info", "near.zarr").stdout
    assert "ml 7 µm (given)" in run("info", "near.zarr", "--midline", "7").stdout
    own = run("info", "far.zarr", "--hemispheres", "sides.nii.gz").stdout
    assert "none; a volume of hemispheres decides, sides.nii.gz" in own
    assert run("info", "far.zarr", "--hemispheres", "ones.nii.gz").exit_code == 1
    words = ("convert", "far.nii.gz", "tree.json", "own.zarr", "--hemispheres", "sides.nii.gz")
    assert run(*words).exit_code == 0
    assert "a volume of hemispheres decides, in the store" in run("info", "own.zarr").stdout
    assert "ml 7 µm (given)" in run("info", "own.zarr", "--midline", "7").stdout


def test_a_store_that_states_no_reason(files: Path) -> None:
    path = Path("far.zarr/zarr.json")
    document = json.loads(path.read_text())
    del document["attributes"]["refspace"]["midline_from"]
    document["attributes"]["refspace"]["metadata_sha256"] = metadata_digest(document)
    path.write_text(json.dumps(document))
    assert "ml 2000 µm (stated by the store)" in run("info", "far.zarr").stdout


# ----- what is refused


COMMANDS = {
    "counts": ("counts", "far.zarr", "--by-hemisphere"),
    "points": ("points", "far.zarr", "p.csv", "--by-hemisphere"),
    "mask": ("mask", "far.zarr", "-s", "1", "--hemisphere", "left", "-o", "x.nrrd"),
    "masks": ("masks", "far.zarr", "-s", "1", "--hemisphere", "left", "-o", "x"),
    "aggregate": ("aggregate", "far.zarr", "far.nii.gz", "--by-hemisphere"),
    "validate": ("validate", "far.zarr"),
    "downsample": ("downsample", "far.zarr", "--to", "2000", "-o", "x.zarr"),
    "convert": ("convert", "far.nii.gz", "tree.json", "x.zarr"),
    "info": ("info", "far.zarr"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_that_needs_a_side_takes_both_options(files: Path, name) -> None:
    words = COMMANDS[name]
    if name == "mask":
        words = (*words, "--overwrite")
    for given_one in (("--midline", "0"), ("--hemispheres", "sides.nii.gz")):
        extra = ("--overwrite",) if name in ("masks", "convert", "downsample") else ()
        result = run(*words, *given_one, *extra)
        assert result.exit_code == 0, result.output
    both = run(*words, "--midline", "0", "--hemispheres", "sides.nii.gz")
    assert both.exit_code == 2
    assert "give one of --midline and --hemispheres" in both.output
    assert run(*words, "--midline", "nan").output.count("give its position along ml in µm") == 1
    assert "--midline" in run(*words, "--midline", "middle").output
    missing = run(*words, "--hemispheres", "none.nii.gz")
    assert missing.exit_code == 2
    assert "none.nii.gz does not exist" in missing.output
    for bad, said in (("ones", "is right"), ("threes", "holds 3"), ("elsewhere", "resample it")):
        refused = run(*words, "--hemispheres", f"{bad}.nii.gz")
        assert refused.exit_code == 1
        assert said in refused.output


@pytest.mark.filterwarnings("default:the midline at")
def test_a_midline_in_millimetres_is_noticed(files: Path) -> None:
    said = run("counts", "far.zarr", "--by-hemisphere", "--midline", "8001").stderr
    assert "Warning: the midline at ml 8001 µm leaves no voxel in the right hemisphere" in said


# ----- in Python


def test_opening_with_other_sides(files: Path) -> None:
    for url, options in (("far.nii.gz", {"structures": "tree.json"}), ("far.zarr", {})):
        space = refspace.open(url, midline=0, **options)
        assert space.volume.hemispheres.line.source == "given"
        assert space.hemisphere("left").total_voxel_map[1] == 2 * PLANE
        sides = refspace.read_nifti("sides.nii.gz").drop_vars("hemisphere")
        for own in ("sides.nii.gz", sides, sides.compute()):
            space = refspace.open(url, hemispheres=own, **options)
            assert "hemisphere" not in space.annotation.coords
            assert space.hemisphere("left").total_voxel_map[1] == 3 * PLANE
        with pytest.raises(AnnotationError, match="is right"):
            refspace.open(url, hemispheres=refspace.read_nifti("ones.nii.gz").compute(), **options)
        with pytest.raises(GridError, match="midline= and hemispheres= both say"):
            refspace.open(url, midline=0, hemispheres=own, **options)
    refspace.open("far.zarr", hemispheres=sides.compute()).to_zarr("sides.zarr")
    assert refspace.open("sides.zarr", midline=0).hemisphere("left").total_voxel_map[1] == 48


def test_hemispheres_are_turned_by_what_they_state(files: Path) -> None:
    turn = nib.orientations.ornt_transform(*map(nib.orientations.axcodes2ornt, ("RAS", "ALS")))
    nib.save(nib.load("sides.nii.gz").as_reoriented(turn), "turned.nii.gz")
    with_geometry = refspace.open("far.zarr", hemispheres="turned.nii.gz")
    assert with_geometry.hemisphere("left").total_voxel_map[1] == 3 * PLANE
    nrrd.write("plain.nrrd", nib.load("sides.nii.gz").get_fdata().astype("u1"))
    plain = refspace.open("far.zarr", hemispheres="plain.nrrd")
    assert plain.hemisphere("left").total_voxel_map[1] == 3 * PLANE
    sides = refspace.read_nifti("sides.nii.gz").compute()
    refspace.ReferenceSpace(plain.structure_tree, sides).to_zarr("volume.zarr")
    stored = refspace.open("far.zarr", hemispheres="volume.zarr")
    assert stored.hemisphere("left").total_voxel_map[1] == 3 * PLANE
    stored.to_zarr("own.zarr")
    taken = refspace.open("far.zarr", hemispheres="own.zarr")
    assert taken.hemisphere("left").total_voxel_map[1] == 3 * PLANE
    turned = refspace.ReferenceSpace(plain.structure_tree, refspace.read_nifti("turned.nii.gz"))
    turned.to_zarr("turned.zarr")
    taken = refspace.open("far.zarr", hemispheres="turned.zarr")
    assert taken.hemisphere("left").total_voxel_map[1] == 3 * PLANE
    zarr.save_array("bare.zarr", sides.values)
    corner = refspace.ReferenceSpace(plain.structure_tree, labelled(BRAIN, Grid(SHAPE, (10,) * 3)))
    corner.to_zarr("corner.zarr")
    bare = refspace.open("corner.zarr", hemispheres="bare.zarr")
    assert bare.hemisphere("left").total_voxel_map[1] == np.sum(BRAIN * (sides.values == 1))
    nib.save(nib.Nifti1Image(np.ones(SHAPE, "f4"), nib.load("far.nii.gz").affine), "f.nii")
    with pytest.raises(AnnotationError, match="hemispheres have dtype float32"):
        refspace.open("far.zarr", hemispheres="f.nii")


def test_jobs_of_other_sides_are_other_jobs(files: Path) -> None:
    atlases = [
        AtlasReference.from_arguments("far.zarr", **options)
        for options in ({}, {"midline": 0}, {"hemispheres": "sides.nii.gz"})
    ]
    for number, (atlas, planes) in enumerate(zip(atlases, (4, 2, 3), strict=True)):
        table = f"{number}.parquet"
        aggregate_images(atlas, ["far.nii.gz"], table, [1], by_hemisphere=True, statistics="count")
        assert pd.read_parquet(table)["count"].tolist() == [planes * PLANE, (8 - planes) * PLANE]
    with pytest.raises(StoreError, match="has rows of another job"):
        aggregate_images(
            atlases[1], ["far.nii.gz"], "0.parquet", [1], by_hemisphere=True, statistics="count"
        )


def test_a_written_atlas_says_the_same_when_it_is_read(tmp_path: Path) -> None:
    grid = Grid((4, 6, 8), (25, 25, 25))
    tree = refspace.StructureTree(TREE)
    space = refspace.ReferenceSpace(tree, labelled(np.ones(grid.shape, "u4"), grid), midline=75)
    refspace.write_nrrd(tmp_path / "a.nrrd", space.annotation)
    refspace.write_nifti(tmp_path / "a.nii.gz", space.annotation)
    for name in ("a.nrrd", "a.nii.gz"):
        again = refspace.open(tmp_path / name, structures=tree)
        assert str(again.volume.hemispheres.line) == "ml 75 µm (stated by the file)"
        counts = again.voxel_counts(by_hemisphere=True).total.sel(structure=1)
        assert counts.values.tolist() == [4 * 6 * 3, 4 * 6 * 5]
