"""Which stores a page may read from where they are: public ones alone, as they were written."""

from pathlib import Path
from typing import Any

import pytest
from helpers.servers import nginx

import refspace
from refspace.viewer.in_place import in_place_url, public_url

ENDPOINT = "http://127.0.0.1:9000"


@pytest.mark.parametrize(
    ("url", "options", "expected"),
    [
        (None, None, None),
        ("/disk/a.zarr", None, None),
        ("https://host/a.zarr/", None, "https://host/a.zarr"),
        ("https://host/a.zarr", {"headers": {"Authorization": "secret"}}, None),
        ("https://host/a.zarr?X-Amz-Signature=abc", None, None),
        ("https://user:secret@host/a.zarr", None, None),
        ("s3://bucket/b/a.zarr", None, None),
        ("s3://bucket/b/a.zarr", {"anon": True}, "https://bucket.s3.amazonaws.com/b/a.zarr"),
        ("s3://b/a b.zarr", {"anon": True, "endpoint_url": ENDPOINT}, f"{ENDPOINT}/b/a%20b.zarr"),
        ("s3://b/a.zarr", {"anon": True, "key": "k", "secret": "s"}, None),
        ("gs://bucket/a.zarr", {"anon": True}, None),
    ],
)
def test_public_urls(url: str | None, options: dict[str, Any] | None, expected: str | None) -> None:
    assert public_url(url, options) == expected


@pytest.mark.slow
def test_only_what_is_as_it_was_written(tmp_path: Path) -> None:
    refspace.phantom(resolution=400).to_zarr(tmp_path / "a.zarr", chunks=16)
    (tmp_path / "work").mkdir()
    with nginx(tmp_path, tmp_path / "work", cors=True) as host:
        space = refspace.open(f"{host}/a.zarr")
        found = in_place_url(space.levels, None)
        assert found is not None
        assert (found.url, found.origin) == (f"{host}/a.zarr/", host)
        for changed in (space.hemisphere("left"), space.crop("TH"), space.in_frame("RAS")):
            assert in_place_url(changed.levels, None) is None
        assert in_place_url(refspace.open(f"{host}/a.zarr", resolution=800).levels, None) is None
