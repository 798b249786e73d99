"""Full disks, and folders that may not be written to, are named by whatever writes."""

import errno
import os
import pickle
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner
from helpers.places_to_write import forbidden_folder, full_disk, open_folder, read_only_disk
from helpers.serving import Server

import refspace
from refspace.cli import main
from refspace.errors import RefspaceError, WriteError
from refspace.files import atomic_write, exclusive_lock, explained, make_folder, write_error
from refspace.formats.tables import write_table
from refspace.plotting.canvas import paper_figure
from refspace.plotting.files import save_figure
from refspace.remote.download import download

PLACES = {
    "full": (
        full_disk,
        errno.ENOSPC,
        r"no space left on {} \([\d,]+ bytes free\) for {}\S*;.* or ",
    ),
    "read-only": (read_only_disk, errno.EROFS, r"{}\S* is on a file system that takes no changes;"),
    "forbidden": (forbidden_folder, errno.EACCES, r"no right to write {}\S*[;:] "),
}


def masks(store, folder, name, **how):
    refspace.write_masks(store, folder / name, ["TH"], threads=1, **how)


def aggregate(store, folder, name):
    image = store.with_name("a.nrrd")
    refspace.aggregate_images(store, [image], folder / name, ["TH"], threads=1)


def convert(store, folder):
    structures = store.with_name("structures.json")
    refspace.convert(store.with_name("a.nrrd"), structures, folder / "c.zarr", threads=1)


WRITERS = {
    "nrrd": lambda store, to: refspace.write_nrrd(to / "a.nrrd", refspace.open(store).annotation),
    "nifti": lambda store, to: refspace.write_nifti(
        to / "a.nii.gz", refspace.open(store).annotation
    ),
    "structures": lambda store, to: refspace.write_structures(
        to / "s.json", refspace.open(store).structure_tree
    ),
    "csv": lambda store, to: write_table(to / "t.csv", [pd.DataFrame({"a": range(9)})]),
    "parquet": lambda store, to: write_table(to / "t.parquet", [pd.DataFrame({"a": range(9)})]),
    "picture": lambda store, to: save_figure(
        to / "p.png",
        paper_figure(None, lambda figure: refspace.open(store).plot.slice("dv", 3000.0, ax=figure)),
    ),
    "itksnap": lambda store, to: refspace.open(store).write_itksnap_labels(
        to / "a.nrrd", to / "l.txt"
    ),
    "to_zarr": lambda store, to: refspace.open(store).to_zarr(to / "b.zarr", threads=1),
    "convert": convert,
    "mask store": lambda store, to: masks(store, to, "m.zarr"),
    "mask files": lambda store, to: masks(store, to, "masks"),
    "image table": lambda store, to: aggregate(store, to, "i.csv"),
    "image parts": lambda store, to: aggregate(store, to, "i.parquet"),
    "folder": lambda store, to: make_folder(to / "a" / "b"),
}


@pytest.fixture(scope="module")
def store():
    """A store, an image and structures, which everybody may read."""
    with open_folder() as folder:
        space = refspace.phantom(resolution=400)
        space.to_zarr(folder / "atlas.zarr", chunks=16)
        refspace.write_nrrd(folder / "a.nrrd", space.annotation)
        refspace.write_structures(folder / "structures.json", space.structure_tree)
        # What writers import is imported before rights are given up.
        (folder / "before").mkdir()
        for write in WRITERS.values():
            write(folder / "atlas.zarr", folder / "before")
        yield folder / "atlas.zarr"


# Where nothing else has room, there is some for a folder.
CASES = [
    (kind, place) for kind in WRITERS for place in PLACES if (kind, place) != ("folder", "full")
]


@pytest.mark.promise("a disk is full")
@pytest.mark.parametrize(("kind", "place"), CASES)
def test_an_error_names_the_path(store, kind, place):
    where, number, message = PLACES[place]
    with open_folder() as parent, where(parent / "disk") as folder:
        before = sorted(path.name for path in folder.iterdir())
        with pytest.raises(WriteError) as caught:
            WRITERS[kind](store, folder)
        assert caught.value.errno == number
        assert isinstance(caught.value, OSError)
        assert isinstance(caught.value, RefspaceError)
        caught.match(message.format(*2 * [folder]) if place == "full" else message.format(folder))
        caught.match("give another place$")
        # Folders and locks stay at most.
        left = {path for path in folder.rglob("*") if path.is_file()}
        assert sorted(path.name for path in left) == before


@pytest.mark.parametrize("place", PLACES)
def test_downloads_name_the_path(place):
    where, number, _ = PLACES[place]
    with (
        Server({"/a.bin": os.urandom(70_000)}) as server,
        open_folder() as parent,
        where(parent / "disk") as folder,
        pytest.raises(WriteError, match=str(folder)) as caught,
    ):
        download(f"{server.url}/a.bin", folder / "downloads" / "a.bin")
    assert caught.value.errno == number


def test_commands_name_the_path(store):
    with open_folder() as parent, full_disk(parent / "disk") as folder:
        words = ["masks", str(store), "--structures", "TH", "--out", str(folder / "m.zarr")]
        found = CliRunner().invoke(main, words)
    assert found.exit_code == 1
    assert f"Error: no space left on {folder}" in found.output


# ----- what an error is about


def test_an_error_goes_to_other_processes():
    error = write_error(OSError(errno.EDQUOT, "Quota exceeded"), "memory://a", "the old one stays")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is WriteError
    assert again.errno == errno.EDQUOT
    text = "no space left for memory://a; the old one stays; make room, or give another place"
    assert str(again) == str(error) == text


def test_files_that_are_too_large(tmp_path):
    with (
        pytest.raises(WriteError, match=r"a\.bin would be larger than files may be here; raise"),
        atomic_write(tmp_path / "a.bin"),
    ):
        raise OSError(errno.EFBIG, "File too large")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("filename", "is_own"),
    [
        (None, True),
        ("a/b.zarr", True),
        ("a/b.zarr/s0/c", True),
        ("a/.b.zarr.partial/s0/c", True),
        ("a", True),
        ("a/source.nrrd", False),
        ("a/.source.nrrd", False),
        ("elsewhere/b.zarr", False),
    ],
)
def test_what_is_read_meanwhile_is_not_what_is_written(tmp_path, filename, is_own):
    (tmp_path / "a").mkdir()
    path = None if filename is None else str(tmp_path / filename)
    error = PermissionError(errno.EACCES, "Permission denied", path)
    with (
        pytest.raises(OSError, match=r"no right to write|denied") as caught,
        explained(tmp_path / "a" / "b.zarr"),
    ):
        raise error
    assert isinstance(caught.value, WriteError) == is_own
    if is_own:
        assert caught.value.__cause__ is error
    # Once is enough.
    with pytest.raises(OSError, match=r"no right to write|denied") as again, explained("other"):
        raise caught.value
    assert again.value is caught.value


def test_other_errors_of_the_system_are_left_alone(tmp_path):
    with pytest.raises(IsADirectoryError), explained(tmp_path):
        raise IsADirectoryError(errno.EISDIR, "Is a directory")


# ----- symbolic links that others have put there


@pytest.fixture
def treasure(tmp_path):
    """A file that must not be cut."""
    path = tmp_path / "treasure"
    path.write_bytes(b"of the user")
    return path


def link_of(path: Path, treasure: Path) -> Path:
    path.symlink_to(treasure)
    return path


def test_a_lock_that_is_a_link(tmp_path, treasure):
    link = link_of(tmp_path / "lock", treasure)
    message = rf"{link} is a symbolic link, and what it names would be written over; see who"
    with pytest.raises(RefspaceError, match=message), exclusive_lock(link):
        pass
    assert treasure.read_bytes() == b"of the user"


def test_a_record_that_is_a_link(tmp_path, treasure):
    link = link_of(tmp_path / "record", treasure)
    with atomic_write(link, through_links=False) as temporary:
        temporary.write_bytes(b"record")
    assert treasure.read_bytes() == b"of the user"
    assert not link.is_symlink()
    assert link.read_bytes() == b"record"


@pytest.mark.parametrize("ending", ["lock", "lock.json", "partial", "old"])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_links_beside_a_store(store, tmp_path, treasure, ending, kind):
    target = tmp_path / "b.zarr"
    named = treasure
    if kind == "folder":
        named = tmp_path / "home"
        named.mkdir()
        for name in ("zarr.json", "thesis"):
            (named / name).write_bytes(b"{}")
    link = link_of(target.with_name(f".b.zarr.{ending}"), named)
    with pytest.raises(RefspaceError, match=rf"{link} is a symbolic link"):
        refspace.open(store).to_zarr(target, overwrite=True)
    assert treasure.read_bytes() == b"of the user"
    assert kind == "file" or len(list(named.iterdir())) == 2


@pytest.mark.promise(
    "a lock, a journal or a partial file is a symbolic link",
    "it is refused, and what it names stays",
)
@pytest.mark.parametrize("name", [".refspace", ".refspace/runs", "s0", "s0/annotation/c/0/0/0"])
@pytest.mark.parametrize("overwrite", [True, False])
def test_links_in_a_store_in_the_making(store, tmp_path, name, overwrite):
    """Whoever goes on with it refuses them; whoever discards it removes the link alone."""
    home, target = tmp_path / "home", tmp_path / "b.zarr"
    partial = target.with_name(".b.zarr.partial")

    def stop(done, total):
        if done > 2:
            raise KeyboardInterrupt

    space = refspace.open(store)
    with pytest.raises(KeyboardInterrupt):
        space.to_zarr(target, chunks=8, threads=1, progress=stop)
    path = partial / name
    path.rename(home) if path.exists() else home.mkdir()
    link_of(path, home)
    before = sorted(home.rglob("*")) if home.is_dir() else [home.read_bytes()]
    if overwrite:
        refspace.phantom(resolution=300).to_zarr(target, chunks=8, overwrite=True)
        assert not partial.exists()
    else:
        with pytest.raises(RefspaceError, match=rf"{path} is a symbolic link"):
            space.to_zarr(target, chunks=8)
    assert (sorted(home.rglob("*")) if home.is_dir() else [home.read_bytes()]) == before


@pytest.mark.parametrize("name", ["lock", "", "structure_549.nrrd.json"])
def test_links_in_the_journal_of_files_of_masks(store, tmp_path, treasure, name):
    folder = tmp_path / "masks"
    folder.mkdir()
    if name:
        (folder / ".refspace").mkdir()
    link = link_of(folder / ".refspace" / name, treasure)
    with pytest.raises(RefspaceError, match=r"is a symbolic link"):
        refspace.write_masks(store, folder, ["TH"])
    assert link.is_symlink()
    assert treasure.read_bytes() == b"of the user"


@pytest.mark.parametrize("name", [".a.bin.part", ".a.bin.part.json", ".a.bin.json", ".a.bin.lock"])
def test_links_beside_a_download(tmp_path, treasure, name):
    link = link_of(tmp_path / name, treasure)
    refused = pytest.raises(RefspaceError, match=rf"{link} is a symbolic link")
    with Server({"/a.bin": b"whole"}) as server, refused:
        download(f"{server.url}/a.bin", tmp_path / "a.bin")
    assert treasure.read_bytes() == b"of the user"
