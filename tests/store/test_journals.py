"""Journals of interrupted runs whose records and jobs lack what they should have."""

import contextlib
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import run

import refspace
from refspace.errors import RefspaceError, StoreError
from refspace.store import verify_store
from refspace.store.staging.job import JOB, JOURNAL, RECORD, checksummed, digest, verified_payload
from refspace.store.write import StoreWriter

pytestmark = pytest.mark.usefixtures("no_sync", "no_threads")

FIELDS = ("path", "flat", "sha256", "size", "rows", "row_ends")


@pytest.fixture(scope="module")
def space():
    return refspace.phantom(resolution=400)


@pytest.fixture
def interrupted(space, tmp_path, monkeypatch) -> Path:
    """What an interrupted run leaves, with everything recorded."""

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(StoreWriter, "finish", stop)
        with pytest.raises(KeyboardInterrupt):
            space.to_zarr(tmp_path / "atlas.zarr", chunks=16)
    (journal,) = tmp_path.rglob(JOURNAL)
    assert [*journal.rglob(f"*{RECORD}")]
    return journal.parent


def rewrite(work: Path, change) -> None:
    """Change what each record holds, and give it the checksum that it should have."""
    for path in (work / JOURNAL).rglob(f"*{RECORD}"):
        job, name = digest((work / JOB).read_bytes()), path.name.removesuffix(RECORD)
        payload = verified_payload(job, name, path.read_bytes())
        with np.load(io.BytesIO(payload)) as record:
            fields = {field: record[field] for field in record.files}
        path.write_bytes(checksummed(job, name, change(fields)))


def saved(fields) -> bytes:
    payload = io.BytesIO()
    np.savez(payload, **fields)
    return payload.getvalue()


CHANGES = {
    **{
        f"without {field}": lambda fields, field=field: saved(
            {name: value for name, value in fields.items() if name != field}
        )
        for field in FIELDS
    },
    "of another array": lambda fields: saved({**fields, "path": np.array("s9/nothing")}),
    "of other lengths": lambda fields: saved({**fields, "size": fields["size"][:-1]}),
    "no archive": lambda fields: b"PK no archive",
    "nothing": lambda fields: b"",
}


@pytest.mark.promise(
    "a record of a job lacks something", "an error with the remedy, or it is done again"
)
@pytest.mark.parametrize("change", CHANGES)
def test_records_that_lack_something(space, interrupted, tmp_path, change):
    rewrite(interrupted, CHANGES[change])
    with pytest.raises(StoreError, match="remove it, or begin anew") as caught:
        space.to_zarr(tmp_path / "atlas.zarr", chunks=16)
    assert str(interrupted) in str(caught.value)
    # What it says to do helps.
    space.to_zarr(tmp_path / "atlas.zarr", chunks=16, resume=False, overwrite=True)
    assert verify_store(tmp_path / "atlas.zarr").faults == ()


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"{}", b'{"source": 1}', b'"\\ud83e"', b"\xff", b"[" * 10**5],
)
def test_jobs_that_lack_something(space, interrupted, tmp_path, content):
    (interrupted / JOB).write_bytes(content)
    with pytest.raises(RefspaceError) as caught:
        space.to_zarr(tmp_path / "atlas.zarr", chunks=16)
    str(caught.value).encode()
    assert "overwrite" in str(caught.value)
    result = run("info", tmp_path / "atlas.zarr")
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    space.to_zarr(tmp_path / "atlas.zarr", chunks=16, overwrite=True)
    assert verify_store(tmp_path / "atlas.zarr").faults == ()


@pytest.mark.parametrize("missing", ["identity", "sha256", None])
def test_records_of_mask_files_that_lack_something(space, tmp_path, missing):
    folder = tmp_path / "masks"
    refspace.write_masks(space, folder, ["TH", "CP"])
    for path in (folder / JOURNAL).glob("*.json"):
        record = json.loads(path.read_bytes())
        changed = {name: v for name, v in record.items() if name != missing} if missing else []
        path.write_text(json.dumps(changed))
    # Files without a record that proves them are kept if they are the masks, or are refused.
    with contextlib.suppress(RefspaceError):
        refspace.write_masks(space, folder, ["TH", "CP"])
    shutil.rmtree(folder)
    assert refspace.write_masks(space, folder, ["TH", "CP"]).written == 2
