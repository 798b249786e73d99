"""Label 0 is outside in every verb, whatever structure has the id 0."""

import json
from typing import NamedTuple

import numpy as np
import pytest
import xarray as xr
import zarr
from helpers.every_verb import computed
from helpers.profiles import examples
from helpers.strategies import Family, families, few
from helpers.volumes import IDS, UNKNOWN, chunked, chunkings, volumes
from hypothesis import assume, given
from hypothesis import strategies as st

import refspace
from refspace import ReferenceSpace, StructureTree
from refspace.errors import OntologyError
from refspace.grid import Grid
from refspace.labels import labelled

# An id that no voxel has, and no label of any test: what 0 is as the id of a structure.
TWIN = 777_777_777


class Twins(NamedTuple):
    """Two spaces of one volume: in one a structure has the id 0, in the other `TWIN`."""

    zero: ReferenceSpace
    twin: ReferenceSpace
    structures: list
    family: Family | None


@st.composite
def twins(draw):
    family = draw(families(8, st.sampled_from([0, *IDS])))
    assume(0 in family.parents)
    voxels = draw(volumes((*family.parents, *UNKNOWN)))
    grid = Grid(voxels.shape, (10, 20, 30))
    data = labelled(chunked(voxels, draw(chunkings(voxels.shape))), grid)
    space = ReferenceSpace(family.tree(), data)
    spaces = [space, with_twin(space)]
    if draw(st.booleans()):
        spaces = [space.with_index() for space in spaces]
    side = draw(st.sampled_from([None, "left", "right"]))
    if side is not None:
        spaces = [space.hemisphere(side) for space in spaces]
    chosen = draw(st.lists(st.sampled_from([*family.parents]), min_size=1, unique=True))
    return Twins(*spaces, chosen, family)


def with_twin(space):
    """The same space, whose structure 0 has another id."""
    renamed = [
        {
            **node,
            "id": node["id"] or TWIN,
            "structure_id_path": [i or TWIN for i in node["structure_id_path"]],
        }
        for node in space.structure_tree.nodes()
    ]
    return ReferenceSpace(StructureTree(renamed), space.annotation)


def with_zero(result):
    """A result in which the twin's id is 0."""
    if isinstance(result, dict):
        return {with_zero(key): with_zero(value) for key, value in result.items()}
    if isinstance(result, list | tuple | set):
        return type(result)(map(with_zero, result))
    if isinstance(result, np.ndarray):
        return with_zero(result.tolist())
    if isinstance(result, xr.DataArray | xr.Dataset) or hasattr(result, "compute"):
        return with_zero(computed(result))
    if isinstance(result, str):
        return result.replace(str(TWIN), "0")
    return 0 if isinstance(result, int | np.integer) and result == TWIN else result


def image(space):
    return np.random.default_rng(2).random(space.grid.shape)


def points(space):
    return np.random.default_rng(3).random((40, 3)) * space.grid.extent


# Each of a space and some of its structures.
ASKED = {
    "voxel_counts": lambda s, _: s.voxel_counts(),
    "voxel_counts, by hemisphere": lambda s, _: s.voxel_counts(by_hemisphere=True),
    "maps": lambda s, _: (s.direct_voxel_map, s.total_voxel_map),
    "remove_unassigned": lambda s, _: [n["id"] for n in s.remove_unassigned(update_self=False)],
    "bounds": lambda s, ids: s.bounds(ids).voxels,
    "bounds, direct": lambda s, ids: s.bounds(ids, direct_only=True).voxels,
    "centroid": lambda s, ids: s.centroid(ids),
    "crop": lambda s, ids: s.crop(ids).annotation,
    "mask": lambda s, ids: s.make_structure_mask(ids),
    "mask, direct": lambda s, ids: s.make_structure_mask(ids, direct_only=True),
    "mask, cropped": lambda s, ids: s.make_structure_mask(ids, crop=True),
    "masks": lambda s, ids: [(i, computed(m)) for i, m in s.many_structure_masks(ids)],
    "plan": lambda s, ids: str(s.plan(ids)),
    "check_coverage": lambda s, ids: s.check_coverage(ids, image(s) < 0.5),
    "check_coverage, each": lambda s, ids: s.check_coverage(
        ids, image(s) < 0.5, per_structure=True
    ),
    "relabel": lambda s, ids: s.relabel({i: n for n, i in enumerate(ids, 1)}).values,
    "paint": lambda s, ids: s.paint(dict(zip(ids, np.arange(0.5, 99), strict=False))),
    "boundaries": lambda s, ids: s.boundaries(ids),
    "boundaries of labels": lambda s, _: s.boundaries(),
    "aggregate": lambda s, ids: s.aggregate(image(s), ids),
    "aggregate all": lambda s, _: s.aggregate(image(s), statistics="count"),
    "structure_at": lambda s, _: s.structure_at(points(s)),
    "count_points": lambda s, ids: s.count_points(points(s), ids),
    "count_points of all": lambda s, _: s.count_points(points(s), by_hemisphere=True),
    "region_properties": lambda s, ids: s.region_properties(ids),
    "surface_area": lambda s, ids: s.surface_area(ids),
    "adjacency": lambda s, _: sorted(map(sorted, s.adjacency().edges)),
    "nodes of adjacency": lambda s, _: {*s.adjacency().nodes},
    "distance": lambda s, ids: s.distance(ids),
    "slice": lambda s, _: s.get_slice_image("ap", 5),
    "slice in a colour map": lambda s, _: s.get_slice_image(
        "ap", 5, {i: c for i, c in s.structure_tree.get_colormap().items() if i != TWIN}
    ),
    "compare": lambda s, ids: s.compare(s.annotation.values[::-1]).at(ids),
    "validate": lambda s, _: s.validate(connectivity=True).unassigned,
}


@pytest.mark.parametrize("asked", ASKED)
def test_the_id_0_changes_no_answer(asked):
    space = universe()
    check_twins(asked, Twins(space, with_twin(space), [0, 2], None))


@pytest.mark.slow
@pytest.mark.parametrize("asked", ASKED)
@examples(10)
@given(case=twins())
def test_the_id_0_changes_no_answer_of_any_volume(asked, case):
    check_twins(asked, case)


def check_twins(asked, case):
    ask, answers = ASKED[asked], []
    for space in case.zero, case.twin:
        ids = case.structures if space is case.zero else [i or TWIN for i in case.structures]
        try:
            answers.append(with_zero(ask(space, ids)))
        except refspace.errors.RefspaceError as error:
            answers.append((type(error), with_zero(str(error))))
    np.testing.assert_equal(*answers)


@few
@given(twins())
def test_what_numpy_says(case):
    space, voxels = case.zero, case.zero.annotation.values
    for structure in case.structures:
        inside = np.isin(voxels.astype("i8"), [i for i in case.family.subtree(structure) if i])
        np.testing.assert_array_equal(space.make_structure_mask(structure), inside)
        assert space.total_voxel_map[structure] == np.count_nonzero(inside)
        counted = space.aggregate(image(space), [structure], statistics="count")["count"]
        assert counted.values.tolist() == [np.count_nonzero(inside)]


# ----- what may not be named 0


def universe():
    """Two boxes in a background of 0, under a root with the id 0."""
    rows = [(0, None), (997, 0), (1, 997), (2, 997)]
    paths = {None: [], 0: [0], 997: [0, 997], 1: [0, 997, 1], 2: [0, 997, 2]}
    names = {0: "universe", 997: "root", 1: "A", 2: "B"}
    nodes = [
        {
            "id": i,
            "acronym": names[i],
            "name": names[i],
            "rgb_triplet": [200, 10 * n, 30],
            "structure_id_path": paths[i],
        }
        for n, (i, _) in enumerate(rows)
    ]
    voxels = np.zeros((6, 6, 6), "u4")
    voxels[1:5, 1:5, 1:3], voxels[1:5, 1:5, 3:5] = 1, 2
    return ReferenceSpace(StructureTree(nodes), voxels, 25)


def test_a_root_with_id_0_holds_what_is_below_it():
    space = universe()
    assert space.total_voxel_map[0] == int(space.make_structure_mask("universe").sum()) == 64
    assert space.direct_voxel_map[0] == int(space.make_structure_mask(0, direct_only=True).sum())
    assert int(space.relabel({0: 5}).sum()) == 5 * 64
    assert int(space.paint({"universe": 1.0}).sum()) == 64
    assert space.region_properties(["universe"]).voxels.values.tolist() == [64]


@pytest.mark.parametrize(
    "ask", [lambda s, r: s.relabel(r), lambda s, r: s.structure_at([[1, 1, 1]], r)]
)
def test_no_region_is_labelled_0(ask):
    space = universe()
    with pytest.raises(OntologyError, match=r"^voxels of the region of structure 0 would have the"):
        ask(space, ["universe"])
    # Where all that is below it is of other regions, there is nothing to label.
    assert ask(space, ["universe", "root"]) is not None


# ----- exports and stores


@pytest.mark.parametrize("id_type", ["u2", "u1"])
@pytest.mark.parametrize("itksnap_header", [True, False])
def test_itksnap_has_one_invisible_row_of_0(tmp_path, id_type, itksnap_header):
    space = universe()
    volume, text = tmp_path / "labels.nrrd", tmp_path / "labels.txt"
    space.write_itksnap_labels(volume, text, id_type, itksnap_header=itksnap_header)
    rows = [row for row in text.read_text().splitlines() if not row.startswith("#")]
    outside = [row for row in rows if row.split()[0] == "0"]
    name = "Clear Label" if itksnap_header else "universe"
    assert [row.split(maxsplit=7) for row in outside] in (
        [["0", "0", "0", "0", opacity, "0", "0", f'"{name}"']] for opacity in ("0", "0.0")
    )
    assert len(rows) == 4
    written = refspace.read_nrrd(volume).values
    voxels = space.annotation.values
    np.testing.assert_array_equal(written == 0, voxels == 0)
    # Each name has the voxels that it had.
    numbers = {row.split('"')[1]: int(row.split()[0]) for row in rows}
    for acronym, structure in (("A", 1), ("B", 2)):
        np.testing.assert_array_equal(written == numbers[acronym], voxels == structure)


def test_as_many_numbers_as_there_are_structures_but_0():
    nodes = [{"id": i, "acronym": f"s{i:03}", "rgb_triplet": [1, 2, 3]} for i in range(0, 512, 2)]
    space = ReferenceSpace(StructureTree(nodes), np.full((2, 2, 2), 510, "u2"), 25)
    labels, table = space.export_itksnap_labels("u1")
    assert sorted(table["IDX"]) == [*range(256)]
    assert table.set_index("LABEL")["IDX"]["s000"] == 0
    assert np.unique(labels).tolist() == [255]


def test_a_store_paints_nothing_outside(tmp_path):
    space = universe()
    space.to_zarr(tmp_path / "a.zarr")
    label = zarr.open_group(tmp_path / "a.zarr", mode="r").attrs["ome"]["image-label"]
    colors = {entry["label-value"]: entry["rgba"] for entry in label["colors"]}
    assert len(colors) == len(label["colors"]) == 4
    assert [colors[i][3] for i in (0, 997, 1, 2)] == [0, 255, 255, 255]
    again = refspace.open(tmp_path / "a.zarr")
    assert again.structure_tree.nodes() == space.structure_tree.nodes()
    assert int(again.make_structure_mask(0).sum()) == again.total_voxel_map[0] == 64
    assert refspace.verify_store(str(tmp_path / "a.zarr")).faults == ()


def test_masks_of_a_structure_0_as_a_store(tmp_path):
    refspace.write_masks(universe(), tmp_path / "m.zarr")
    masks = refspace.open_masks(tmp_path / "m.zarr")
    assert masks.sum(["ap", "dv", "ml"]).to_pandas().to_dict() == {0: 64, 997: 64, 1: 32, 2: 32}


def test_a_converted_atlas_answers_alike(tmp_path):
    space = universe()
    records = [
        {"id": i, "acronym": a, "name": a, "parent_structure_id": p, "color_hex_triplet": "FF0000"}
        for i, a, p in ((0, "universe", None), (997, "root", 0), (1, "A", 997), (2, "B", 997))
    ]
    (tmp_path / "s.json").write_text(json.dumps(records))
    refspace.write_nrrd(tmp_path / "v.nrrd", space.annotation)
    made = refspace.convert(tmp_path / "v.nrrd", tmp_path / "s.json", tmp_path / "c.zarr")
    assert made.total_voxel_map == space.total_voxel_map
    assert int(made.make_structure_mask(0).sum()) == 64
