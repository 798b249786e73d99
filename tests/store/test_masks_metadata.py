"""Stores of masks whose metadata are anything: an error of ours, or the masks that were written."""

import copy
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.commands import run

import refspace
from refspace.errors import RefspaceError
from refspace.store import verify_store
from refspace.store.digests import metadata_digest

pytestmark = pytest.mark.usefixtures("no_sync", "no_threads")

JUNK = (None, True, -1, 10**30, "\ud83e\x1b", [[]], {"a": [1]}, float("nan"))


@pytest.fixture(params=[False, pytest.param(True, marks=pytest.mark.slow)], ids=["some", "all"])
def junk_of(request):
    """What a field is replaced by, by its number: in quick tests one thing after the other."""
    return lambda number: JUNK if request.param else [JUNK[number % len(JUNK)]]


@pytest.fixture(scope="module")
def masks(tmp_path_factory):
    url = tmp_path_factory.mktemp("masks") / "masks.zarr"
    refspace.write_masks(refspace.phantom(resolution=400), url, ["TH", "CP"])
    return url


@pytest.fixture(scope="module")
def whole(masks):
    return refspace.open_masks(masks).compute()


@pytest.fixture
def damaged(masks, tmp_path):
    shutil.copytree(masks, tmp_path / "masks.zarr")
    return tmp_path / "masks.zarr"


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Path to each value of a JSON document, the document itself first."""
    yield path
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in items:
            yield from paths(inner, (*path, key))


def changed(document: Any, path: tuple[Any, ...], junk: Any, *, remove: bool = False) -> Any:
    """Document with a value replaced or removed."""
    if not path:
        return junk
    document = copy.deepcopy(document)
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    if remove:
        del inner[path[-1]]
    else:
        inner[path[-1]] = junk
    return document


def sealed(document: Any) -> Any:
    """Document with the digest that it should have, as whoever means harm would write it."""
    try:
        document["attributes"]["refspace"]["metadata_sha256"] = metadata_digest(document)
    except Exception:  # of what is no such document any more
        return document
    return document


def outcome(store: Path, whole: Any) -> str | None:
    """What is wrong with how a store is read; None if it is right, or refused with an error."""
    try:
        opened = refspace.open_masks(store)
        repr(opened)
        values = opened.compute()
    except RefspaceError as error:
        str(error).encode()
        return None
    except Exception as error:  # what the test looks for
        return repr(error)
    same = values.shape == whole.shape and np.array_equal(values, whole)
    return None if same else "other masks"


@pytest.mark.promise("a mask store is damaged")
def test_any_field_of_the_root_may_be_anything(damaged, whole, junk_of):
    document = json.loads((damaged / "zarr.json").read_text())
    found = []
    for number, path in enumerate(paths(document)):
        changes = [changed(document, path, junk) for junk in junk_of(number)]
        if path and not isinstance(path[-1], int):
            changes.append(changed(document, path, None, remove=True))
        for other in changes:
            (damaged / "zarr.json").write_text(json.dumps(other))
            if (what := outcome(damaged, whole)) is not None:
                found.append(f"{path}: {what}")
    assert not found, "\n".join(found)


@pytest.mark.parametrize("part", ["refspace", "arrays"])
def test_even_where_its_digest_fits(damaged, whole, junk_of, part):
    document = json.loads((damaged / "zarr.json").read_text())
    nodes = document["consolidated_metadata"]["metadata"]
    found = []
    for number, path in enumerate(paths(document)):
        inside = path[:2] == ("consolidated_metadata", "metadata") and len(path) > 2
        if inside is not (part == "arrays"):
            continue
        if inside and path[2] not in ("s0/mask", *list(nodes)[-2:]):
            continue  # others are read in the same way
        for junk in junk_of(number):
            other = changed(document, path, junk)
            (damaged / "zarr.json").write_text(json.dumps(sealed(other)))
            what = outcome(damaged, whole)
            # Whoever can seal the root can say that the masks are others.
            if what not in (None, "other masks"):
                found.append(f"{path}: {what}")
    assert not found, "\n".join(found)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"null", b"[" * 10**5])
def test_what_is_no_json(damaged, content):
    (damaged / "zarr.json").write_bytes(content)
    with pytest.raises(RefspaceError, match="masks"):
        refspace.open_masks(damaged)
    result = run("verify", damaged)
    assert result.exit_code == 1
    assert result.exception is None or isinstance(result.exception, SystemExit)


@pytest.mark.parametrize(
    "path",
    [
        ("attributes", "refspace", "provenance"),
        ("attributes", "refspace", "kind"),
        ("attributes", "refspace"),
        ("consolidated_metadata", "metadata", "s0/mask", "shape"),
        ("consolidated_metadata", "metadata"),
        ("node_type",),
    ],
)
def test_verify_and_its_command(damaged, path):
    document = json.loads((damaged / "zarr.json").read_text())
    for junk in JUNK:
        (damaged / "zarr.json").write_text(json.dumps(sealed(changed(document, path, junk))))
        try:
            verify_store(damaged)
        except RefspaceError as error:
            str(error).encode()
        result = run("verify", damaged)
        assert result.exit_code in (0, 1)
        assert result.exception is None or isinstance(result.exception, SystemExit), (path, junk)
