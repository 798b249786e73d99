"""Ids that a volume holds and its structures lack, and the casts that likely made them."""

import pickle

import dask.array as da
import numpy as np
import pytest
from helpers.volumes import IDS, UNKNOWN, CountingSource, cases
from hypothesis import given
from hypothesis import strategies as st

from refspace import ReferenceSpace, StructureTree, write_nrrd, write_structures
from refspace.batch import AtlasReference
from refspace.labels import LabelVolume
from refspace.labels.noting import LabelNotes
from refspace.verbs.unknown import UnknownIds


@given(cases())
def test_they_are_those_that_numpy_finds(case):
    labels, counts = np.unique(case.voxels, return_counts=True)
    known = case.tree.node_ids()
    expected = {
        int(i): int(n) for i, n in zip(labels, counts, strict=True) if i and int(i) not in known
    }
    for space in case.space, case.space.with_index():
        found = space.unknown_ids()
        assert dict(zip(found.ids, found.voxels, strict=True)) == expected
        assert bool(found) == bool(expected)


@given(st.sets(st.sampled_from([*IDS, *UNKNOWN, 0])), st.sets(st.sampled_from([*IDS, *UNKNOWN])))
def test_casts_are_remainders(labels, structures):
    found = UnknownIds.from_labels(labels, structures)
    assert found.ids == tuple(sorted(labels - structures - {0}))
    expected = {}
    for i in sorted(structures - labels):
        if i > 65535 and int(np.uint32(i).astype(np.uint16)) in found.ids:
            expected.setdefault(int(np.uint32(i).astype(np.uint16)), []).append(i)
    assert {now: list(before) for now, before in found.casts.items()} == expected


def space_of(*values, ids=(7, 9, 70000, 614454277)):
    tree = StructureTree([{"id": i, "acronym": f"s{i}"} for i in ids])
    return ReferenceSpace(tree, np.array([[values]], "u4"), 25)


def test_a_cast_is_named():
    original = space_of(0, 7, 70000, 614454277, 614454277)
    assert str(original.unknown_ids()) == ""
    voxels = original.annotation.values.astype("u2")
    found = ReferenceSpace(original.structure_tree, voxels, 25).unknown_ids()
    small, large = 70000 % 65536, 614454277 % 65536
    assert found.casts == {small: (70000,), large: (614454277,)}
    assert str(found) == (
        f"3 voxels hold 2 ids that the structures lack: {small}, {large}. 2 of them are absent ids "
        f"of the structures modulo 65536 (70000 became {small}): the volume was likely cast to "
        "uint16; get the original, or write it again as uint32"
    )


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ((0, 7), ""),
        ((0, 8, 8), "2 voxels hold 1 id that the structures lack: 8"),
        # 70000 is there, so that nothing has become of it.
        ((70000, 4464), "1 voxels hold 1 id that the structures lack: 4464"),
        (range(10, 17), "7 voxels hold 7 ids that the structures lack: 10, 11, 12, 13, 14, …"),
    ],
)
def test_nothing_more_is_said_of_others(values, text):
    assert str(space_of(*values).unknown_ids()) == text


def test_one_id_that_was_cast():
    assert "lack: 4464. It is an absent id of the structures modulo 65536" in str(
        space_of(0, 4464).unknown_ids()
    )


def test_validate_names_the_cast():
    report = str(space_of(0, 4464, 9).validate())
    assert "absent id of the structures modulo 65536 (70000 became 4464)" in report
    assert "modulo" not in str(space_of(0, 8, 9).validate())


# ----- labels that are noted in passing


def test_what_is_read_is_noted_and_nothing_else():
    voxels = np.repeat(np.array([0, 7, 9, 70000], "u4"), 4).reshape(1, 1, 16)
    source = CountingSource(voxels)
    volume = LabelVolume.from_array(source.dask(((1,), (1,), (4, 4, 4, 4))), 25)
    notes = LabelNotes()
    noted = notes.on(volume)
    assert (notes.labels, source.reads) == (set(), [])
    np.testing.assert_array_equal(noted.data[..., 4:12], voxels[..., 4:12])
    assert notes.labels == {7, 9}
    assert len(source.reads) == 2
    assert noted.chunks == volume.chunks
    assert noted.hemisphere("left").label_counts == volume.hemisphere("left").label_counts


def test_noted_volumes_have_the_same_name_in_every_run():
    volume = LabelVolume.from_array(da.ones((4, 4, 4), dtype="u4", chunks=2), 25)
    names = {LabelNotes().on(volume).data.data.name for _ in range(2)}
    assert len(names) == 1
    assert names != {volume.data.data.name}


def test_other_processes_note_for_themselves():
    notes = LabelNotes()
    notes.on(LabelVolume.from_array(np.ones((2, 2, 2), "u4"), 25)).data.compute()
    assert notes.labels == {1}
    assert pickle.loads(pickle.dumps(notes)).labels == set()


def test_references_know_what_was_read_of_an_atlas_without_an_index(tmp_path):
    space = space_of(0, 7, 8)
    write_nrrd(tmp_path / "v.nrrd", space.annotation)
    write_structures(tmp_path / "s.json", space.structure_tree)
    reference = AtlasReference.from_arguments(tmp_path / "v.nrrd", structures=tmp_path / "s.json")
    assert reference.labels_read() == set()
    pinned = reference.pinned()
    assert pinned.labels_read() == set()
    pinned.open().annotation.compute()
    assert pinned.labels_read() == {0, 7, 8}
