"""Folders and buckets of BrainGlobe's own packaging, which have no list of versions."""

import shutil

import fsspec
import numpy as np
import pytest
from click.testing import CliRunner
from helpers import brainglobe_packaging as packaging
from helpers.serving import Server

import refspace
from refspace.cli import main
from refspace.errors import FormatError, RemoteError, SourceError
from refspace.grid import Grid
from refspace.sources.brainglobe_bucket import by_number, classic_error, find_atlas

MOUSE = packaging.mouse()
NAME = "phantom_mouse_100um"
SPEC = f"brainglobe:{NAME}"


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """Folder that the packaging code was given; not to be changed."""
    folder = tmp_path_factory.mktemp("packed")
    for sample in (MOUSE, packaging.rat()):
        packaging.write_packaging(folder, sample)
    return folder


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("REFSPACE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def copy(packed, tmp_path):
    """Folder of all atlases, to be changed."""
    return shutil.copytree(packed / packaging.ROOT, tmp_path / "copy")


@pytest.mark.parametrize("where", ["", packaging.ROOT, f"{packaging.ROOT}/atlases"])
def test_the_newest_version_is_opened_by_number(packed, where):
    space = refspace.open(SPEC, base=packed / where)
    # 3.9 sorts after it as a text.
    assert space.provenance["version"] == "3.10"
    assert space.provenance["species"] == MOUSE.species
    assert space.grid == Grid((40, 24, 31), (100, 50, 50), orientation="PIL")
    assert space.structure_tree.node_ids() == [node["id"] for node in MOUSE.structures]
    np.testing.assert_array_equal(space.annotation.values, MOUSE.annotation[0])
    np.testing.assert_array_equal(space.template.values, MOUSE.template[0])


def test_the_folder_may_be_named_by_the_environment(packed, monkeypatch):
    monkeypatch.setenv("HOME", str(packed.parent))
    monkeypatch.setenv("REFSPACE_BRAINGLOBE", f"~/{packed.name}")
    assert refspace.open(SPEC).provenance["version"] == "3.10"


@pytest.mark.parametrize(
    ("spec", "options"),
    [(f"{SPEC}@3.9", {}), (f"{SPEC}@3_9", {}), (SPEC, {"version": "3.9"})],
)
def test_versions_that_are_asked_for(packed, spec, options):
    assert refspace.open(spec, base=packed, **options).provenance["version"] == "3.9"


def test_the_other_level_is_an_atlas_of_its_own(packed):
    space = refspace.open("brainglobe:phantom_mouse_200um", base=packed)
    assert space.grid == Grid((20, 12, 16), (200, 100, 100), orientation="PIL")
    np.testing.assert_array_equal(space.annotation.values, MOUSE.annotation[1])


def test_hemispheres_of_their_own(packed):
    rat = packaging.rat()
    space = refspace.open("brainglobe:phantom_rat_25.0um", base=packed)
    np.testing.assert_array_equal(space.hemispheres.values, rat.hemispheres[0])
    expected = int(((rat.annotation[0] == 12) & (rat.hemispheres[0] == 1)).sum())
    assert int(space.hemisphere("left").total_voxel_counts()[12]) == expected > 0


def test_a_copy_of_the_buckets_list_says_nothing_of_a_folder(copy):
    # BrainGlobe's reader keeps it beside its downloads.
    (copy / "atlases/last_versions.conf").write_text(f"[atlases]\n{NAME} = 9.0\nother_1um = 1.0\n")
    assert refspace.open(SPEC, base=copy).provenance["version"] == "3.10"
    with pytest.raises(SourceError, match=r"no atlas 'other_1um' in .*copy; there are 3, like ph"):
        refspace.open("brainglobe:other_1um", base=copy)


def test_a_download_that_was_interrupted_is_no_version(copy):
    (copy / f"atlases/{NAME}/3_10/manifest.json").unlink()
    (copy / f"atlases/{NAME}/notes").mkdir()
    assert refspace.open(SPEC, base=copy).provenance["version"] == "3.9"
    with pytest.raises(SourceError, match=r"no version 3\.10 of phantom_mouse_100um; .* has 3\.9$"):
        refspace.open(f"{SPEC}@3.10", base=copy)


def test_names_that_a_folder_lacks(packed):
    with pytest.raises(SourceError, match=r"'phantom_mouse_10um' in .*; did you mean phantom_mous"):
        refspace.open("brainglobe:phantom_mouse_10um", base=packed)
    with pytest.raises(SourceError, match="no atlas 'fish' in"):
        refspace.open("brainglobe:fish@1.0", base=packed)


def test_a_fetched_folder_is_the_same_from_anywhere(packed, monkeypatch, tmp_path):
    monkeypatch.chdir(packed)
    stored = refspace.fetch(SPEC, base=packaging.ROOT)
    np.testing.assert_array_equal(stored.annotation.values, MOUSE.annotation[0])
    monkeypatch.chdir(tmp_path)
    # A folder of that name is another one here.
    with pytest.raises(RemoteError, match="there are no atlases of BrainGlobe at"):
        refspace.fetch(SPEC, base=packaging.ROOT)
    assert refspace.fetch(SPEC, base=packed / packaging.ROOT).url == stored.url


# ----- voxels that are not here


def image_of(base, version="3_10", name="annotations_compressed"):
    return base / f"annotation-sets/phantom_mouse-annotation/{version}/{name}.ome.zarr"


def test_voxels_that_nobody_has_downloaded_are_not_background(copy):
    packaging.without_voxels(image_of(copy))
    with pytest.raises(
        SourceError, match=r"s0 has no voxels: .*those of the annotation when it is"
    ):
        refspace.open(SPEC, base=copy)
    (here,) = refspace.atlases("brainglobe", base=copy).query("spec == @SPEC")["here"]
    assert here is None
    assert refspace.open(f"{SPEC}@3.9", base=copy).total_voxel_map[997] > 0


def test_a_template_that_nobody_has_downloaded_is_left_out(copy):
    packaging.without_voxels(copy / "templates/phantom_mouse-template/3_10/template.ome.zarr")
    with pytest.warns(
        UserWarning, match=r"opened without its template: .*template\.ome\.zarr/s0 h"
    ):
        space = refspace.open(SPEC, base=copy)
    assert space.template is None
    np.testing.assert_array_equal(space.annotation.values, MOUSE.annotation[0])


# ----- buckets


@pytest.fixture
def bucket(packed):
    """Bucket of a file system that lists."""
    memory = fsspec.filesystem("memory")
    memory.put(str(packed / packaging.ROOT), "/lab/atlas", recursive=True)
    yield "memory://lab/atlas"
    memory.rm("/lab", recursive=True)


def test_a_bucket_is_listed(bucket):
    space = refspace.open(SPEC, base=bucket)
    assert space.provenance["version"] == "3.10"
    np.testing.assert_array_equal(space.annotation.values, MOUSE.annotation[0])
    assert refspace.open(f"{SPEC}@3.9", base=bucket).provenance["version"] == "3.9"
    with pytest.raises(
        SourceError, match=r"no version 3\.11 of .*; memory://lab/atlas has 3\.10, 3"
    ):
        refspace.open(f"{SPEC}@3.11", base=bucket)
    with pytest.raises(
        SourceError, match="no atlas 'fish'; there are 3, like phantom_mouse_100um,"
    ):
        refspace.open("brainglobe:fish", base=bucket)
    with pytest.raises(
        RemoteError, match=r"no atlases of BrainGlobe at memory://lab: name the fol"
    ):
        refspace.open(SPEC, base="memory://lab")


def test_the_list_of_a_bucket_counts_where_it_has_one(bucket):
    memory = fsspec.filesystem("memory")
    memory.pipe("/lab/atlas/atlases/last_versions.conf", f"[atlases]\n{NAME} = 3.9\n".encode())
    assert refspace.open(SPEC, base=bucket).provenance["version"] == "3.9"
    # It need not name all that is there.
    other = refspace.open("brainglobe:phantom_mouse_200um", base=bucket)
    assert other.provenance["version"] == "3.10"


def test_a_web_server_is_asked_for_a_version(packed):
    with Server(packed / packaging.ROOT) as server:
        with pytest.raises(RemoteError, match=r"give one, as in 'brainglobe:phantom_mouse_100um@1"):
            refspace.open(SPEC, base=server.url)
        with pytest.raises(RemoteError, match=r"atlases has no version 3\.11 of phantom_mouse_100"):
            refspace.open(f"{SPEC}@3.11", base=server.url)
        space = refspace.open(f"{SPEC}@3.10", base=server.url)
        np.testing.assert_array_equal(space.annotation.values, MOUSE.annotation[0])


@pytest.mark.s3
def test_a_bucket_of_s3(packed, s3):
    fs = fsspec.filesystem("s3", **s3.writer)
    fs.put(str(packed / packaging.ROOT), "atlases/packed", recursive=True)
    base = "s3://atlases/packed"
    space = refspace.open(SPEC, base=base, storage_options=s3.writer)
    assert space.provenance["version"] == "3.10"
    np.testing.assert_array_equal(space.annotation.values, MOUSE.annotation[0])
    table = refspace.atlases("brainglobe", base=base, storage_options=s3.writer)
    assert table["version"].tolist() == ["3.10", "3.9", "3.10", "3.9", "3.0"]
    # Who may read and not list needs to know the version.
    with pytest.raises(RemoteError, match="access is denied") as caught:
        refspace.open(SPEC, base=base, storage_options=s3.reader)
    (note,) = caught.value.__notes__
    assert note == f"a version that is given needs no list: '{SPEC}@1.2'"
    space = refspace.open(f"{SPEC}@3.9", base=base, storage_options=s3.reader)
    np.testing.assert_array_equal(space.annotation.values, MOUSE.annotation[0])


# ----- folders by their path


@pytest.mark.parametrize(
    ("path", "version"), [(f"atlases/{NAME}/3_9", "3.9"), (f"atlases/{NAME}", "3.10")]
)
def test_an_atlas_is_opened_by_its_folder(packed, path, version):
    folder = packed / packaging.ROOT / path
    space = refspace.open(folder)
    assert space.provenance["version"] == version
    assert refspace.fetch(str(folder)).total_voxel_map == space.total_voxel_map
    result = CliRunner().invoke(main, ["counts", str(folder), "-s", "A12"])
    assert result.exit_code == 0, result.output
    assert str(space.total_voxel_map[12]) in result.stdout


def test_a_folder_with_one_atlas_is_that_atlas(packed, tmp_path):
    packaging.write_packaging(tmp_path / "one", packaging.rat())
    for folder in (tmp_path / "one", tmp_path / "one" / packaging.ROOT):
        assert refspace.open(folder).provenance["name"] == "phantom_rat"
    with pytest.raises(SourceError, match=r"has 3 atlases of BrainGlobe, like phantom_mouse_100um"):
        refspace.open(packed)


@pytest.mark.parametrize("name", ["atlases", "atlases/a/1_0", "b"])
def test_folders_that_are_no_atlases(tmp_path, name):
    (tmp_path / name).mkdir(parents=True)
    assert find_atlas(tmp_path / name) is None
    assert find_atlas(tmp_path) is None
    assert find_atlas("s3://bucket/atlases/a/1_0") is None
    assert find_atlas("~no-such-user/atlases/a/1_0") is None
    assert find_atlas("atlases\0") is None


def test_versions_by_number():
    versions = ["1.10", "1.9", "2_0", "1.9.1", "10"]
    assert sorted(versions, key=by_number) == ["1.9", "1.9.1", "1.10", "2_0", "10"]


# ----- versions 1 and 2


def test_an_atlas_of_before_is_named_with_its_command(tmp_path):
    packaging.write_classic(tmp_path, version="1.9", resolution=[25, 25, 25])
    folder = packaging.write_classic(tmp_path, version="1.10")
    command = (
        f"refspace convert {folder}/annotation.tiff {folder}/structures.json "
        "phantom_mouse_50um.zarr --orientation PIL --resolution 50 "
        f"--template {folder}/reference.tiff --hemispheres {folder}/hemispheres.tiff, or get "
        "version 3 of it: 'brainglobe:phantom_mouse_50um'"
    )
    for url, options in (
        (folder, {}),
        ("brainglobe:phantom_mouse_50um", {"base": tmp_path}),
        ("brainglobe:phantom_mouse_50um@1.10", {"base": tmp_path}),
    ):
        with pytest.raises(
            FormatError, match="packaging before version 3, with volumes in"
        ) as caught:
            refspace.open(url, **options)
        assert str(caught.value).endswith(command)
    result = CliRunner().invoke(main, ["counts", str(folder)])
    assert "refspace convert" in result.output
    # Beside the folder of version 3.
    (tmp_path / packaging.ROOT / "atlases").mkdir(parents=True)
    with pytest.raises(FormatError, match="--resolution 50"):
        refspace.open("brainglobe:phantom_mouse_50um", base=tmp_path)


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ({"orientation": "LPI", "resolution": [100, 50.5, 50]}, "RAS --resolution 100,50.5,50"),
        ({"orientation": "asq"}, "XYZ --resolution UM"),
        ({"resolution": None}, "XYZ --resolution UM"),
        ({"orientation": 7}, "XYZ --resolution UM"),
        ({"resolution": [25] * 10_000}, "XYZ --resolution UM"),
        ({"resolution": [25, float("nan"), 25]}, "XYZ --resolution UM"),
    ],
)
def test_the_command_has_what_the_metadata_state(tmp_path, fields, options):
    folder = packaging.write_classic(tmp_path / "with blank", "rat", **fields)
    text = str(classic_error(folder))
    assert f"'{folder}/annotation.tiff'" in text
    assert f"--orientation {options}" in text


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", "", "\x00"])
def test_metadata_that_are_damaged(tmp_path, text):
    folder = packaging.write_classic(tmp_path)
    (folder / "metadata.json").write_text(text)
    with pytest.raises(FormatError, match="--orientation XYZ"):
        refspace.open(folder)
