import csv
import gzip
import io

import nibabel as nib
import numpy as np
import pytest
from helpers.abc_replay import (
    IMAGES,
    MEMBERSHIP,
    SPEC,
    TERMS,
    abc_files,
    nifti,
    table,
)
from helpers.serving import Fault, Server

import refspace
from refspace.errors import FormatError, GridError, RemoteError, SourceError
from refspace.grid import Grid
from refspace.remote import retry


@pytest.fixture(scope="module")
def sample():
    """Atlas that the replay is of; its voxels are said to be of 10 µm."""
    return refspace.phantom(resolution=200)


@pytest.fixture(scope="module")
def files(sample):
    return abc_files(sample)


@pytest.fixture
def server(files, monkeypatch, tmp_path):
    monkeypatch.setattr(retry, "POLICY", retry.Retry(delay=0))
    monkeypatch.setenv("REFSPACE_CACHE", str(tmp_path / "cache"))
    with Server(dict(files)) as running:
        monkeypatch.setenv("REFSPACE_ABC", running.url)
        yield running


def test_a_fetched_atlas_has_the_ids_of_the_allen_ontology(server, sample):
    space = refspace.fetch(SPEC)
    assert space.grid == Grid((66, 40, 57), (10,) * 3)
    np.testing.assert_array_equal(space.annotation.values, sample.annotation.values)
    assert space.total_voxel_map == sample.total_voxel_map
    assert space.structure_tree.resolve("VISp") == [385]
    assert space.template is None
    assert space.midline == 285
    provenance = space.provenance
    assert provenance["source"] == f"{server.url}/{IMAGES}/annotation_10.nii.gz"
    assert len(provenance["sha256"]) == 64
    # What the tables say of the volume, and what is in it.
    assert provenance["voxels_in_structures"] == sum(space.direct_voxel_map.values())


@pytest.mark.parametrize("turn", [-1, 1])
def test_the_header_moves_nothing(server, sample, turn):
    indices = np.zeros((4, 4, 4), "u4")
    server.files[f"{IMAGES}/annotation_10.nii.gz"] = nifti(indices, turn)
    assert refspace.fetch(SPEC).grid == Grid((4, 4, 4), (10,) * 3)


def test_a_header_of_another_resolution_is_refused(server):
    coarse = nib.Nifti1Image(np.zeros((4, 4, 4), "u4"), np.diag([25, 25, 25, 1]))
    server.files[f"{IMAGES}/annotation_10.nii.gz"] = gzip.compress(coarse.to_bytes())
    with pytest.raises(
        GridError, match=r"annotation_10\.nii\.gz: resolution .* contradicts the he"
    ):
        refspace.fetch(SPEC)


def test_the_tree_is_that_of_the_ontology(server, sample):
    tree, expected = refspace.open(SPEC).structure_tree, sample.structure_tree
    # Terms of the other ontology are no structures.
    assert tree.node_ids() == expected.node_ids()
    drawn = [node for node in tree.nodes() if "rgb_triplet" in node]
    assert len(drawn) > 10
    for node in tree.nodes():
        (theirs,) = expected.nodes([node["id"]])
        for field in ("acronym", "name", "structure_id_path"):
            assert node[field] == theirs[field]
        assert node.get("rgb_triplet") in (None, theirs["rgb_triplet"])


def test_a_second_call_needs_no_network(server, sample):
    first = refspace.fetch(SPEC, template=True)
    assert len([r for r in server.requests if r.method == "GET"]) == 4
    server.stop()
    again = refspace.fetch(SPEC, template=True)
    assert again.total_voxel_map == first.total_voxel_map
    np.testing.assert_array_equal(again.template.values, sample.annotation.values % 251)


def test_the_base_may_be_given(server, monkeypatch, sample):
    monkeypatch.delenv("REFSPACE_ABC")
    space = refspace.fetch(SPEC, resolution=10, base=server.url)
    assert space.total_voxel_map == sample.total_voxel_map


@pytest.mark.parametrize(
    ("spec", "options", "error", "message"),
    [
        ("abc:ccf_2017", {}, SourceError, "abc has no 'ccf_2017'; it has ccf_2020"),
        (
            SPEC,
            {"resolution": 25},
            GridError,
            "resolution is 25.*published at 10 µm, and downsample",
        ),
        (SPEC, {"template": "nissl"}, SourceError, "no template 'nissl'; it has average_template"),
        (SPEC, {"release": "../.."}, SourceError, r"release is '\.\./\.\.'; it is a date like"),
        (SPEC, {"host": "x"}, SourceError, "no option host; the source takes base, release, templ"),
        (SPEC, {"release": "20990101"}, FileNotFoundError, "20990101/parcellation_term.csv"),
    ],
)
def test_requests_that_cannot_be_met(server, spec, options, error, message):
    with pytest.raises(error, match=message):
        refspace.fetch(spec, **options)


def rows_of(data):
    return list(csv.DictReader(io.StringIO(data.decode())))


def _lacking(files):
    kept = [row for row in rows_of(files[TERMS]) if row["identifier"] != "MBA:593"]
    return {TERMS: table(kept)}


def _two_structures(files):
    rows = rows_of(files[MEMBERSHIP])
    rows[-1]["parcellation_label"] = "AllenCCF-Annotation-2020-997"
    return {MEMBERSHIP: table(rows)}


def _other_label(files):
    rows = rows_of(files[MEMBERSHIP])
    rows[-1]["parcellation_label"] = "AllenCCF-Annotation-2031-7"
    return {MEMBERSHIP: table(rows)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            _lacking,
            r"has structures that parcellation_term\.csv lacks: 593 \(index \d+\); get both",
        ),
        (_two_structures, r"parcellation_index \d+ is \d+ and 997; an index has one structure"),
        (_other_label, "has 'AllenCCF-Annotation-2031-7'; it must be AllenCCF-Annotation-2020-<nu"),
        (lambda _: {TERMS: b"a,b\n1,2\n"}, "has no column label, identifier, parent_identifier"),
        (lambda _: {TERMS: b"label,identifier,parent_identifier,acronym,name\n"}, "names no term"),
        (lambda _: {TERMS: b"\xff\xfe"}, "is no table"),
        (lambda _: {MEMBERSHIP: b"parcellation_term_label,color_hex_triplet\nx\n"}, "cut short"),
        (lambda _: {MEMBERSHIP: b'parcellation_term_label,color_hex_triplet\n"x\n'}, "is no table"),
    ],
)
def test_tables_that_do_not_fit(server, files, change, message):
    server.files.update(change(files))
    with pytest.raises(FormatError, match=message):
        refspace.fetch(SPEC)


def test_tables_that_are_too_large(server):
    with (
        refspace.set_limits(ontology_bytes=100),
        pytest.raises(
            FormatError, match=r"\.csv has \d+ bytes, of at most 100; if it is right, rais"
        ),
    ):
        refspace.fetch(SPEC)


def test_an_index_that_no_table_has(server, files, tmp_path):
    rows = rows_of(files[MEMBERSHIP])
    last = rows[-1]["parcellation_index"]
    server.files[MEMBERSHIP] = table([r for r in rows if r["parcellation_index"] != last])
    with pytest.raises(refspace.errors.AnnotationError, match=f"no structure of: {last}; complete"):
        refspace.fetch(SPEC)
    assert not list((tmp_path / "cache").rglob("*.zarr/zarr.json"))


def test_a_web_page_is_no_atlas(server):
    server.faults = lambda _: Fault(body=b"<!DOCTYPE html>", headers={"Content-Type": "text/html"})
    with pytest.raises(RemoteError, match=r"web page|HTML|html"):
        refspace.fetch(SPEC)


@pytest.mark.network
def test_the_real_tables(tmp_path, monkeypatch):
    monkeypatch.setenv("REFSPACE_CACHE", str(tmp_path))
    from refspace.sources.abc import BASE, build_tree, ids_by_index
    from refspace.sources.cache import Cache

    terms, membership = (Cache().file(f"{BASE}/{path}") for path in (TERMS, MEMBERSHIP))
    tree = build_tree(terms, membership)
    assert tree.resolve("VISp") == [385]
    assert len(ids_by_index(membership, tree)) > 600


@pytest.mark.network
def test_the_real_atlas(tmp_path):
    space = refspace.fetch(SPEC, cache=tmp_path)
    assert space.grid == Grid((1320, 800, 1140), (10,) * 3)
    counts = space.total_voxel_map
    assert counts[997] == space.provenance["voxels_in_structures"]
    assert counts[385] > 0
