"""Jobs that are killed at random moments, with threads: the same bytes, and nothing left over."""

import itertools
import random
import signal
import time
from pathlib import Path

import pytest
from helpers.clusters import Job, ended_before
from helpers.files import contents
from helpers.profiles import share

import refspace
from refspace.batch import aggregate_images, write_masks

KILLS = share(20)
IMAGES = 12
STRUCTURES = ["VISp", "TH"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An atlas, images of it, and what jobs make of them undisturbed; not to be changed."""
    folder = tmp_path_factory.mktemp("kills")
    space = refspace.phantom(resolution=400)
    space.to_zarr(folder / "atlas.zarr", chunks=16)
    (folder / "images").mkdir()
    for number in range(IMAGES):
        values = space.annotation.copy(data=space.annotation.data + number)
        refspace.write_nrrd(folder / "images" / f"{number:02}.nrrd", values.astype("f4"))
    return folder


def main(folder, out):
    """The job: a table of images, or a file for each mask."""
    atlas, out = f"{folder}/atlas.zarr", Path(out)
    if out.suffix:
        aggregate_images(
            atlas, sorted(Path(folder, "images").iterdir()), out, STRUCTURES, threads=1
        )
    else:
        write_masks(atlas, out, threads=1)


def steps(place):
    """How far a job is: the number of files that it has made, temporary ones too."""
    return lambda count: len([*place.rglob("*")]) >= count


@pytest.mark.promise("a writer is killed at any step")
@pytest.mark.slow
@pytest.mark.parametrize("name", ["t.parquet", "t.csv", "masks"])
def test_killed_at_random_moments(folder, tmp_path, name):
    draw, kills = random.Random(name), 0
    (tmp_path / "whole").mkdir()
    main(folder, tmp_path / "whole" / name)
    whole = contents(tmp_path / "whole")
    for number in itertools.count():
        place = tmp_path / str(number)
        place.mkdir()
        there = 0
        while True:
            process = Job(main, folder, place / name)
            enough = there + draw.randrange(1, 12)
            is_there = steps(place)
            if kills < KILLS and not ended_before(
                process, lambda n=enough, at=is_there: at(n), pause=0.002
            ):
                time.sleep(draw.uniform(0, 0.02))
                process.kill()
            code = process.wait(300)
            assert code in (0, -signal.SIGKILL)
            kills += code == -signal.SIGKILL
            there = len([*place.rglob("*")])
            if code == 0:
                break
        assert contents(place) == whole
        if kills == KILLS:
            break


def test_what_a_kill_leaves_of_mask_files_is_removed(folder, tmp_path):
    out = tmp_path / "masks"
    write_masks(folder / "atlas.zarr", out, STRUCTURES)
    whole = contents(out)
    left = [
        ".structure_385.0123abcd.partial.nrrd",
        ".structure_385.nii.0123abcd.partial.gz",
        ".refspace/.structure_385.nrrd.0123abcd.partial.json",
        ".refspace/.masks-0123456789abcdef.zarr.partial/zarr.json",
        ".refspace/masks-0123456789abcdef.zarr/zarr.json",
        ".refspace/runs/0123456789abcdef/0123abcd-structure_385.nrrd",
    ]
    others = [".structure_385.nrrd", ".notes.0123abcd.partial.nrrd", ".structure_x.partial.nrrd"]
    for key in (*left, *others):
        (out / key).parent.mkdir(parents=True, exist_ok=True)
        (out / key).write_bytes(b"left")
    (out / ".structure_1.0123abcd.partial.nrrd").mkdir()
    assert write_masks(folder / "atlas.zarr", out, STRUCTURES).kept == 2
    assert contents(out) == whole | dict.fromkeys(others, b"left")
    assert (out / ".structure_1.0123abcd.partial.nrrd").is_dir()


@pytest.mark.parametrize(
    "record",
    [b"", b"[]", b'{"identity": "1"}', b'{"identity": 1, "sha256": "0", "seal": "0"}'],
)
def test_records_of_mask_files_that_were_edited(folder, tmp_path, record):
    out = tmp_path / "masks"
    write_masks(folder / "atlas.zarr", out, ["TH"])
    (path,) = (out / ".refspace").glob("*.json")
    whole = path.read_bytes()
    path.write_bytes(record)
    # The mask itself is the right one, which is found by reading it.
    assert write_masks(folder / "atlas.zarr", out, ["TH"]).written == 1
    assert path.read_bytes() == whole
