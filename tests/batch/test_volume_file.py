"""A volume written to a file by parts: on threads and clusters, through failures and kills."""

import gzip
import io
import random
import signal
import time
import zlib
from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pytest
import SimpleITK
import xarray as xr
from distributed import Client
from helpers.clusters import Job, ended_before
from helpers.profiles import share
from hypothesis import given
from hypothesis import strategies as st

import refspace
from refspace.batch import volume_file
from refspace.batch.volume_file import write_volume_file
from refspace.errors import LockedError, StoreError, WriteError
from refspace.files import exclusive_lock
from refspace.formats import voxel_output
from refspace.formats.gzip_parts import deflated, joined_crc, write_gzip
from refspace.formats.volumes import read_volume, write_volume
from refspace.pools import ClusterPool, ThreadPool

ENDINGS = [".nrrd", ".nii", ".nii.gz"]


@pytest.fixture(autouse=True)
def small_slabs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slabs of the chunks of the volume, however small."""
    monkeypatch.setattr(voxel_output, "_SLAB_BYTES", 1)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stores") / "atlas.zarr"
    refspace.phantom(resolution=200).to_zarr(path, chunks=8)
    return path


@pytest.fixture
def labels(store: Path) -> xr.DataArray:
    return labels_of(store)


def labels_of(store: Path) -> xr.DataArray:
    """Annotation of eight parts."""
    return refspace.open(store).annotation


# ----- streams of parts


@given(st.lists(st.binary(max_size=40), max_size=5), st.integers(1, 9))
def test_a_stream_of_parts_is_one_member(texts: list[bytes], level: int) -> None:
    file = io.BytesIO()
    write_gzip(file, [deflated([text[:3], text[3:]], level) for text in texts])
    inflater = zlib.decompressobj(wbits=31)
    whole = inflater.decompress(file.getvalue())
    assert whole == b"".join(texts) == gzip.decompress(file.getvalue())
    assert inflater.eof
    assert inflater.unused_data == b""


@given(st.binary(max_size=50), st.binary(max_size=300))
def test_checksums_are_joined(first: bytes, second: bytes) -> None:
    crc = joined_crc(zlib.crc32(first), zlib.crc32(second), len(second))
    assert crc == zlib.crc32(first + second)


@pytest.mark.parametrize("length", [2**31, 2**32 + 7])
def test_checksums_of_large_parts_are_joined(length: int) -> None:
    """As of so many zeros, which are counted by squares of one."""
    block, crc, left = zlib.crc32(bytes(2**20)), 0, length
    while left >= 2**20:
        crc, left = joined_crc(crc, block, 2**20), left - 2**20
    crc = zlib.crc32(bytes(left), crc)
    halves = joined_crc(crc, crc, length)
    assert joined_crc(0x12345678, crc, length) == joined_crc(0x12345678, 0, length) ^ crc
    assert joined_crc(crc, halves, 2 * length) == joined_crc(halves, crc, length)


# ----- files


def read_by_others(path: Path) -> dict[str, np.ndarray]:
    """Voxels as other programs read them."""
    itk = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))).T
    if path.suffix == ".nrrd":
        return {"pynrrd": nrrd.read(str(path))[0], "SimpleITK": itk}
    return {"nibabel": np.asarray(nibabel.load(path).dataobj), "SimpleITK": itk}


@pytest.mark.parametrize("ending", ENDINGS)
def test_other_programs_read_it(labels: xr.DataArray, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a{ending}"
    done = []
    write_volume_file(path, labels, pool=ThreadPool(2), progress=lambda *n: done.append(n))
    assert done == [(n, 8) for n in range(9)]
    for name, voxels in read_by_others(path).items():
        np.testing.assert_array_equal(voxels, labels, err_msg=name)
    np.testing.assert_array_equal(read_volume(path), labels)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("ending", ENDINGS)
def test_bytes_are_the_same_on_any_threads(
    labels: xr.DataArray, tmp_path: Path, ending: str
) -> None:
    paths = [tmp_path / f"{n}{ending}" for n in range(3)]
    write_volume(paths[0], labels)
    for threads, path in enumerate(paths[1:], 1):
        write_volume_file(path, labels, pool=ThreadPool(threads))
    assert len({path.read_bytes() for path in paths}) == 1


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_cluster_writes_the_same(
    labels: xr.DataArray, tmp_path: Path, cluster: Client, ending: str
) -> None:
    coarse = refspace.labels.downsample(labels, 400, "mode")
    paths = [tmp_path / f"{n}{ending}" for n in range(2)]
    write_volume(paths[0], coarse)
    write_volume_file(paths[1], coarse, pool=ClusterPool(cluster))
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("ending", [".mha", ".tif"])
def test_formats_without_parts(labels: xr.DataArray, tmp_path: Path, ending: str) -> None:
    write_volume_file(tmp_path / f"a{ending}", labels, pool=ThreadPool(2))
    np.testing.assert_array_equal(read_volume(tmp_path / f"a{ending}"), labels)


def test_arrays_in_memory(labels: xr.DataArray, tmp_path: Path) -> None:
    write_volume_file(tmp_path / "a.nrrd", labels.compute(), pool=ThreadPool(2))
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nrrd"), labels)


# ----- what is interrupted


def parts(folder: Path, ending: str = ".nrrd") -> dict[str, tuple[int, int]]:
    """Parts that were recorded, and when each was written."""
    work = folder / f".a{ending}.parts"
    names = [path.stem for path in work.glob(".refspace/part-*.json")]
    # At the end parts are removed before their records.
    found = {name: (work / name).stat() for name in names if (work / name).exists()}
    return {name: (status.st_ino, status.st_mtime_ns) for name, status in found.items()}


def stop(labels: xr.DataArray, folder: Path) -> dict[str, tuple[int, int]]:
    """Begin a file, and fail after three parts; these."""

    def fail(done: int, total: int) -> None:
        if done == 3:
            raise RuntimeError("of the caller")

    with pytest.raises(RuntimeError, match="of the caller") as caught:
        write_volume_file(folder / "a.nrrd", labels, pool=ThreadPool(1), progress=fail)
    work = folder / ".a.nrrd.parts"
    assert caught.value.__notes__ == [
        f"what is done lies in {work}; run the same again to go on with it"
    ]
    assert not (folder / "a.nrrd").exists()
    found = parts(folder)
    assert len(found) == 3
    return found


def go_on(labels: xr.DataArray, folder: Path) -> int:
    """Go on with a file; how many of its parts were kept."""
    done = []
    write_volume_file(
        folder / "a.nrrd", labels, pool=ThreadPool(1), progress=lambda *n: done.append(n)
    )
    assert [path.name for path in folder.iterdir()] == ["a.nrrd"]
    np.testing.assert_array_equal(read_volume(folder / "a.nrrd"), labels)
    return done[0][0]


def test_it_goes_on(labels: xr.DataArray, tmp_path: Path) -> None:
    stop(labels, tmp_path)
    assert go_on(labels, tmp_path) == 3


def test_a_damaged_part_is_made_again(labels: xr.DataArray, tmp_path: Path) -> None:
    first, second, _ = (tmp_path / ".a.nrrd.parts" / name for name in stop(labels, tmp_path))
    first.write_bytes(first.read_bytes()[:-1])
    second.unlink()
    assert go_on(labels, tmp_path) == 1


def test_another_volume_begins_anew(labels: xr.DataArray, tmp_path: Path) -> None:
    stop(labels, tmp_path)
    assert go_on((labels > 0).astype("u1"), tmp_path) == 0


def test_other_parts_are_not_left(labels: xr.DataArray, tmp_path: Path) -> None:
    """Of a volume with more of them."""
    stop(labels, tmp_path)
    assert go_on(labels.chunk(-1), tmp_path) == 0


def test_what_others_put_there_stays(labels: xr.DataArray, tmp_path: Path) -> None:
    stop(labels, tmp_path)
    (tmp_path / ".a.nrrd.parts" / "notes.txt").touch()
    write_volume_file(tmp_path / "a.nrrd", labels, pool=ThreadPool(1))
    left = [path.name for path in (tmp_path / ".a.nrrd.parts").iterdir()]
    assert left == ["notes.txt"]


def test_what_nothing_proves_begins_anew(labels: xr.DataArray, tmp_path: Path) -> None:
    stop(labels, tmp_path)
    unknown = labels.copy(data=labels.data.map_blocks(lambda block: block, dtype=labels.dtype))
    stop(unknown, tmp_path)
    assert go_on(unknown, tmp_path) == 0


def test_what_changes_meanwhile(
    labels: xr.DataArray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    identify = volume_file.array_identity
    seen = iter([labels.data, labels.data + 1])
    monkeypatch.setattr(volume_file, "array_identity", lambda data: identify(next(seen)))
    with pytest.raises(StoreError, match="is made of has changed; run the same again"):
        write_volume_file(tmp_path / "a.nrrd", labels, pool=ThreadPool(1))
    assert not (tmp_path / "a.nrrd").exists()


def test_one_writer_at_a_time(labels: xr.DataArray, tmp_path: Path) -> None:
    stop(labels, tmp_path)
    with (
        exclusive_lock(tmp_path / ".a.nrrd.parts/.refspace/lock"),
        pytest.raises(LockedError, match="another process writes parts to"),
    ):
        write_volume_file(tmp_path / "a.nrrd", labels, pool=ThreadPool(1))
    assert go_on(labels, tmp_path) == 3


def test_links_and_folders_in_the_way(labels: xr.DataArray, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / ".a.nrrd.parts").symlink_to(tmp_path / "mine")
    with pytest.raises(StoreError, match="is a symbolic link"):
        write_volume_file(tmp_path / "a.nrrd", labels, pool=ThreadPool(1))
    assert list((tmp_path / "mine").iterdir()) == []
    (tmp_path / "b.nrrd").mkdir()
    with pytest.raises(FileExistsError, match="is a folder or device"):
        write_volume_file(tmp_path / "b.nrrd", labels, pool=ThreadPool(1))
    with pytest.raises(FileNotFoundError, match="does not exist; make it"):
        write_volume_file(tmp_path / "no" / "b.nrrd", labels, pool=ThreadPool(1))


def test_a_full_disk(labels: xr.DataArray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        patch.setattr(volume_file.WriteLease, "write", full)
        with pytest.raises(WriteError, match="no space left on"):
            write_volume_file(tmp_path / "a.nrrd", labels, pool=ThreadPool(1))
    assert go_on(labels, tmp_path) == 0


def main(store: str, path: str) -> None:
    """Write a file slowly, in a process that is killed."""
    voxel_output._SLAB_BYTES = 1
    write_volume_file(
        path, labels_of(Path(store)), pool=ThreadPool(2), progress=lambda *_: time.sleep(0.02)
    )


@pytest.mark.promise("a writer is killed at any step")
@pytest.mark.slow
@pytest.mark.parametrize("ending", [".nrrd", ".nii"])
def test_processes_that_are_killed(
    store: Path, labels: xr.DataArray, tmp_path: Path, ending: str
) -> None:
    draw, kills, target = random.Random(ending), 0, tmp_path / f"a{ending}"
    write_volume(tmp_path / f"whole{ending}", labels)
    while kills < share(12):
        target.unlink(missing_ok=True)
        before: dict[str, tuple[int, int]] = {}
        while not target.exists():
            job = Job(main, store, target)
            enough = len(before) + draw.randint(0, 3)
            if not ended_before(job, lambda n=enough: len(parts(tmp_path, ending)) >= n):
                time.sleep(draw.uniform(0, 0.03))
                job.kill()
            status = job.wait(300)
            assert status in (0, -signal.SIGKILL)
            kills += status != 0
            after = parts(tmp_path, ending)
            # While the parts are removed, the file is there.
            if not target.exists():
                assert before.items() <= after.items()
            before = after
        assert target.read_bytes() == (tmp_path / f"whole{ending}").read_bytes()
        write_volume_file(target, labels, pool=ThreadPool(1))
    assert {path.name for path in tmp_path.iterdir()} == {target.name, f"whole{ending}"}
