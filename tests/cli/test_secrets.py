"""User names, passwords, signatures and keys: in no file, message, log or repr."""

import base64
import logging
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import run
from helpers.serving import Fault, Server

import refspace
from refspace.batch import AtlasReference, ImageOptions
from refspace.batch.images import image_identity
from refspace.batch.statistics import Image
from refspace.errors import JobError, RefspaceError
from refspace.remote import retry
from refspace.remote.objects import copy_object, read_url
from refspace.remote.stamps import object_stamp
from refspace.store import Location, open_atlas, verify_store
from refspace.store.write import WriteTarget

USER, PASSWORD, SIGNATURE, KEY = "s3ntinel-user", "s3ntinel%21word", "s3ntinel-sign", "s3ntinel-key"
SECRETS = ("s3ntinel",)


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path, no_sync, no_threads):
    monkeypatch.setattr(retry, "POLICY", retry.Retry(attempts=2, delay=0, longest=0))
    monkeypatch.setenv("REFSPACE_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def space():
    return refspace.phantom(resolution=400)


@pytest.fixture(scope="module")
def site(space, tmp_path_factory):
    """Folder that a server sends to those who name a user and a password."""
    folder = tmp_path_factory.mktemp("site")
    space.to_zarr(folder / "atlas.zarr")
    refspace.write_structures(folder / "structures.json", space.structure_tree)
    refspace.write_nrrd(folder / "image.nrrd", space.annotation.astype("f4"))
    refspace.write_masks(space, folder / "masks.zarr", ["TH"])
    return folder


@pytest.fixture
def server(site) -> Iterator[Server]:
    expected = base64.b64encode(f"{USER}:{PASSWORD.replace('%21', '!')}".encode()).decode()

    def refuse(request):
        given = {name.lower(): text for name, text in request.headers.items()}
        return None if given.get("authorization") == f"Basic {expected}" else Fault(status=401)

    with Server(site, refuse) as server:
        yield server


@pytest.fixture
def base(server) -> str:
    return server.url.replace("://", f"://{USER}:{PASSWORD}@")


def assert_no_secret(*texts: object) -> None:
    for text in texts:
        for secret in SECRETS:
            assert secret not in str(text), text


def assert_no_secret_in_files(folder: Path) -> None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    for path in files:
        assert_no_secret(path, path.read_bytes().decode("latin-1"))


def assert_message_is_clean(error: BaseException) -> None:
    """The message, its notes, and all that Python shows below it, but for lines of code."""
    shown = "".join(traceback.TracebackException.from_exception(error).format())
    lines = [line for line in shown.splitlines() if not line.startswith("  ")]
    assert_no_secret(*lines, repr(error), *getattr(error, "__notes__", ()))
    if isinstance(error, JobError):
        assert_no_secret(error.failures)


def run_clean(*words: object, codes: tuple[int, ...] = (0,)) -> str:
    result = run(*words)
    assert result.exit_code in codes, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert_no_secret(result.stdout, result.stderr)
    return result.stdout


# ----- what goes well


@pytest.mark.promise("a password or key is in a URL or in options")
def test_commands_and_what_they_write(base, site, space, tmp_path, caplog):
    caplog.set_level(logging.DEBUG, "refspace")
    atlas, image = f"{base}/atlas.zarr", f"{base}/image.nrrd"
    structures = f"{base}/structures.json"
    local = tmp_path / "local.nrrd"
    refspace.write_nrrd(local, space.annotation)
    access = ["--chunk-cache", tmp_path / "copies"]
    assert "127.0.0.1" in run_clean("info", atlas)
    run_clean("info", atlas, "--json")
    run_clean("verify", atlas)
    run_clean("verify", f"{base}/masks.zarr")
    run_clean("counts", atlas, *access, "-o", tmp_path / "counts.csv")
    run_clean("mask", atlas, "-s", "TH", "-o", tmp_path / "masks")
    run_clean("masks", atlas, "-s", "TH", "-o", tmp_path / "masks.zarr")
    run_clean("slice", atlas, "-o", tmp_path / "slice.png")
    run_clean("convert", atlas, structures, tmp_path / "new.zarr", "--template", atlas)
    run_clean("validate", atlas, "-o", tmp_path / "findings")
    run_clean("compare", atlas, atlas, "-o", tmp_path / "compared.csv")
    run_clean("downsample", atlas, "--to", "800", "-o", tmp_path / "coarse.nrrd")
    run_clean("export", "itksnap", atlas, tmp_path / "l.nrrd", tmp_path / "l.txt")
    for ending in ("csv", "parquet"):
        out = ["-o", tmp_path / f"table.{ending}"]
        run_clean(
            "aggregate", atlas, image, f"{base}/atlas.zarr", "--same-grid", *out, codes=(0, 1)
        )
        run_clean("aggregate", atlas, image, "--same-grid", *out, codes=(0, 1))
    run_clean("aggregate", atlas, image, "--valid", image)
    run_clean("aggregate", local, site / "structures.json", image)
    assert_no_secret_in_files(tmp_path)
    assert_no_secret(caplog.text)
    assert "image" in (tmp_path / "table.csv").read_text()


def test_functions_and_what_they_give(base, space, tmp_path):
    opened = refspace.open(f"{base}/atlas.zarr", chunk_cache=tmp_path / "copies")
    np.testing.assert_array_equal(opened.annotation, space.annotation)
    texts = [repr(opened), opened._repr_html_(), dict(opened.provenance)]
    for data in (opened.annotation.data, opened.make_structure_mask("TH").data):
        graph = data.__dask_graph__()
        texts += [repr(data), list(graph), repr(dict(graph)), data.name]
    tree = opened.to_datatree()
    texts += [tree.attrs, repr(tree), opened.annotation.attrs, opened.annotation.encoding]
    texts += [
        repr(open_atlas(f"{base}/atlas.zarr")),
        repr(refspace.open_masks(f"{base}/masks.zarr")),
    ]
    assert_no_secret(*texts)
    opened.to_zarr(tmp_path / "copy.zarr")
    report = verify_store(f"{base}/atlas.zarr")
    assert report.faults == ()
    assert_no_secret(report, repr(report))
    assert_no_secret_in_files(tmp_path)


def test_reprs(base):
    url = f"{base}/atlas.zarr?sig={SIGNATURE}"
    options = {"key": KEY, "client_kwargs": {"headers": {"Authorization": KEY}}}
    atlas = AtlasReference.from_arguments(url, storage_options=options)
    assert_no_secret(
        repr(Location(url, options)),
        repr(atlas),
        repr(Image.from_path(url)),
        repr(ImageOptions(access={"storage_options": options})),
        repr(WriteTarget("a.zarr", storage_options=options)),
        repr(refspace.sources.Request("a", access={"storage_options": options})),
    )
    with pytest.raises(RefspaceError) as caught:
        AtlasReference.from_arguments(url, storage_options={"key": KEY, "session": object()})
    assert_message_is_clean(caught.value)


def test_identities_differ_by_what_is_no_secret(base, space):
    first = image_identity(f"{base}/image.nrrd", space.grid, ImageOptions())
    assert_no_secret(str(first))
    plain = [Image.from_path(f"https://host/{name}") for name in ("a?x=1", "a?x=2", "b", "a")]
    assert len({image.name for image in plain}) == 4
    assert Image.from_path(f"https://{USER}@host/b").name == plain[2].name


def test_provenance_that_is_given(space, tmp_path):
    provenance = {
        "source": f"https://{USER}:{PASSWORD}@host/a.zarr?X-Amz-Signature={SIGNATURE}&page=3",
        "more": [f"see s3://{USER}@bucket/x and https://h/?token={SIGNATURE}", 1],
        "deep": {"url": f"simplecache::https://{USER}:{PASSWORD}@host/x#access_token={SIGNATURE}"},
    }
    refspace.convert(
        space.annotation, space.structure_tree, tmp_path / "a.zarr", provenance=provenance
    )
    volume = refspace.ReferenceSpace(space.structure_tree, space.annotation).volume
    given = refspace.ReferenceSpace.from_volume(space.structure_tree, volume, provenance=provenance)
    given.to_zarr(tmp_path / "b.zarr")
    refspace.write_masks(given, tmp_path / "masks.zarr", ["TH"])
    assert_no_secret(given.to_datatree().attrs)
    assert_no_secret_in_files(tmp_path)
    stored = refspace.open(tmp_path / "a.zarr").provenance
    assert stored["source"] == "https://host/a.zarr?page=3"


# ----- what fails


def urls() -> list[str]:
    """URLs of hosts that are not there, or do not give what is asked."""
    return [
        f"http://{USER}:{PASSWORD}@127.0.0.1:9/atlas.zarr",
        f"http://127.0.0.1:9/atlas.zarr?X-Amz-Signature={SIGNATURE}&X-Amz-Credential={USER}",
        f"https://{USER}:{PASSWORD}@host.invalid/a.zarr?token={SIGNATURE}",
        f"https://{USER}:{PASSWORD}/slash@host.invalid/a.zarr",
        f"https://{USER}:{PASSWORD}@more@host.invalid/a.zarr",
        f"simplecache::http://{USER}:{PASSWORD}@127.0.0.1:9/a.zarr",
        f"zip::http://{USER}:{PASSWORD}@127.0.0.1:9/a.zip?sig={SIGNATURE}",
        f"nosuch://{USER}:{PASSWORD}@host/a.zarr?sig={SIGNATURE}",
        f"http://{USER}:{PASSWORD}@127.0.0.1:9/a.nrrd",
        f"http://127.0.0.1:9/a.nrrd?sig={SIGNATURE}",
        f"http://127.0.0.1:9/a.nii.gz?sig={SIGNATURE}#token={SIGNATURE}",
    ]


CALLS = {
    "open": lambda url, out, atlas: refspace.open(url, resolution=10).annotation.compute(),
    "open, structures": lambda url, out, atlas: refspace.open(out / "no.zarr", structures=url),
    "open, hemispheres": lambda url, out, atlas: refspace.open(atlas, hemispheres=url),
    "obstore": lambda url, out, atlas: refspace.open(url, engine="obstore"),
    "verify": lambda url, out, atlas: verify_store(url),
    "masks": lambda url, out, atlas: refspace.open_masks(url),
    "structures": lambda url, out, atlas: refspace.read_structures(url),
    "read": lambda url, out, atlas: read_url(url),
    "copy": lambda url, out, atlas: copy_object(url, out / "copy"),
    "stamp": lambda url, out, atlas: object_stamp(url),
    "convert": lambda url, out, atlas: refspace.convert(url, out / "none.json", out / "new.zarr"),
    "write": lambda url, out, atlas: refspace.phantom(resolution=800).to_zarr(url),
    "write masks": lambda url, out, atlas: refspace.write_masks(
        refspace.phantom(resolution=800), url, ["TH"]
    ),
    "aggregate": lambda url, out, atlas: refspace.aggregate_images(url, [url], out / "t.csv"),
    "images": lambda url, out, atlas: refspace.aggregate_images(atlas, [url], out / "t.csv"),
    "valid": lambda url, out, atlas: refspace.aggregate_images(
        atlas, [url], out / "t.csv", valid=url
    ),
}


def pairs(first, second) -> list:
    """Each of some things with each of others; quick tests take each with a third of the others."""
    return [
        pytest.param(one, other, marks=[] if (m + n) % 3 == 0 else pytest.mark.slow, id=f"{m}-{n}")
        for m, one in enumerate(first)
        for n, other in enumerate(second)
    ]


@pytest.mark.promise("a password or key is in a URL or in options")
@pytest.mark.parametrize(("name", "url"), pairs(CALLS, urls()))
def test_messages(name, url, tmp_path, site, caplog):
    if name == "obstore":
        pytest.importorskip("obstore")
    caplog.set_level(logging.DEBUG, "refspace")
    (tmp_path / "out").mkdir()
    with (
        warnings.catch_warnings(record=True, action="always") as told,
        pytest.raises(Exception) as caught,  # noqa: PT011
    ):
        CALLS[name](url, tmp_path / "out", site / "atlas.zarr")
    assert isinstance(caught.value, RefspaceError | OSError), repr(caught.value)
    assert_message_is_clean(caught.value)
    assert_no_secret(caplog.text, *(warning.message for warning in told))
    assert_no_secret(*tmp_path.rglob("*"))


WORDS = [
    "info {url}",
    "verify {url}",
    "counts {url}",
    "counts {url} {url}",
    "counts {atlas} {url}",
    "counts {atlas} -s TH --storage-option key=s3ntinel-key --hemispheres {url}",
    "compare {atlas} {url}",
    "aggregate {atlas} {url}",
    "aggregate {atlas} {url} -o {out}/t.csv",
    "aggregate {atlas} {atlas} --valid {url} -o {out}/t.csv",
    "convert {url} {url} {out}/new.zarr",
    "convert {atlas} {url} {out}/new.zarr",
    "convert {atlas} {structures} {url}",
    "mask {url} -s TH -o {out}/masks",
    "mask {atlas} -s TH -o {url}",
    "masks {atlas} -s TH -o {url}",
    "counts {atlas} -o {url}",
    "slice {atlas} -o {url}",
    "downsample {atlas} --to 800 -o {url}",
    "export itksnap {atlas} {url} {url}.txt",
    "demo {url}/demo --resolution 0",
    "slice {url}",
    "fetch allen ccf_2017 --resolution 25 --host {url} --archive {url}",
    "fetch brainglobe a_25um -O base={url}",
    "fetch abc ccf_2020 -O base={url}",
    "fetch {url}",
    "convert {atlas} {structures} {url} --storage-option key=s3ntinel-key",
    "convert {url} {structures} {out}/new.zarr --storage-option key=s3ntinel-key",
    "downsample {url} --to 800 -o {out}/a.nrrd --storage-option key=s3ntinel-key",
    "downsample {atlas} --to 800 -o {url} --storage-option key=s3ntinel-key",
    "verify {url} --storage-option key=s3ntinel-key",
    "list brainglobe -O base={url} --storage-option key=s3ntinel-key",
    "verify {url} --storage-option s3ntinel-key",
    "verify {url} --storage-option =s3ntinel-key",
]


@pytest.mark.parametrize(("words", "url"), pairs(WORDS, urls()[1::2]))
def test_messages_of_commands(words, url, tmp_path, site, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "some").touch()
    places = {"atlas": site / "atlas.zarr", "structures": site / "structures.json"}
    run_clean(
        *(word.format(url=url, out=tmp_path / "out", **places) for word in words.split()),
        codes=(1, 2),
    )
    assert_no_secret_in_files(tmp_path)


@pytest.mark.parametrize(
    ("status", "call"),
    pairs(
        [401, 403, 404, 410, 418, 500, 503],
        ["open", "verify", "structures", "copy", "stamp", "images"],
    ),
)
def test_messages_of_hosts_that_refuse(status, call, tmp_path, site):
    (tmp_path / "out").mkdir()
    with Server({}, lambda request: Fault(status=status)) as server:
        base = server.url.replace("://", f"://{USER}:{PASSWORD}@")
        for url in (f"{base}/a.zarr", f"{base}/a.nrrd", f"{server.url}/a?sig={SIGNATURE}"):
            with pytest.raises(Exception) as caught:  # noqa: PT011
                CALLS[call](url, tmp_path / "out", site / "atlas.zarr")
            assert isinstance(caught.value, RefspaceError | OSError)
            assert_message_is_clean(caught.value)


def test_messages_about_credentials():
    pytest.importorskip("s3fs")
    options = {"key": KEY, "secret": KEY, "endpoint_url": "http://127.0.0.1:9", "nosuch": KEY}
    for asked in (options, {**options, "client_kwargs": {"aws_session_token": KEY}}):
        with pytest.raises((RefspaceError, OSError)) as caught:
            refspace.open("s3://bucket/a.zarr", storage_options=asked)
        assert_message_is_clean(caught.value)
