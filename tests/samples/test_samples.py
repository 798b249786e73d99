"""The phantom's ontology and the kernel that labels its voxels."""

import hashlib

import numpy as np
import pytest
from helpers.profiles import examples
from hypothesis import given
from hypothesis import strategies as st

from refspace.samples import ontology
from refspace.samples.anatomy import EXTENT, label_block
from refspace.samples.ontology import EMPTY_STRUCTURE_IDS, STRUCTURE_ID, STRUCTURES
from refspace.samples.shapes import Curve, diamond_angle, diamond_direction, smooth_max, smooth_min

SHAPE = (132, 80, 114)
DIGEST_100_UM = "c50f68b6a14e15d23cb4d69347581bec05a4bad21161b28e6e670f7702da2d13"
BY_ID = {structure["id"]: structure for structure in STRUCTURES}


def centres(resolution):
    """Voxel centres along ap, dv and ml."""
    return [(np.arange(round(length / resolution)) + 0.5) * resolution for length in EXTENT]


@pytest.fixture(scope="module")
def whole():
    """The volume at 100 µm."""
    return label_block(*centres(100.0))


@pytest.fixture(scope="module")
def totals(whole):
    """Voxels of each structure with its descendants, at 100 µm."""
    counts = dict.fromkeys(BY_ID, 0)
    labels, sizes = np.unique(whole[whole > 0], return_counts=True)
    for label, size in zip(labels.tolist(), sizes.tolist(), strict=True):
        for structure_id in BY_ID[label]["structure_id_path"]:
            counts[structure_id] += size
    return counts


def within(structure):
    """Ids of a structure and its descendants, by acronym."""
    structure_id = STRUCTURE_ID[structure]
    return [node["id"] for node in STRUCTURES if structure_id in node["structure_id_path"]]


class TestOntology:
    def test_records_have_the_keys_of_a_cleaned_structure(self):
        keys = {
            *("acronym", "graph_id", "graph_order", "id", "name"),
            *("structure_id_path", "rgb_triplet", "structure_set_ids"),
        }
        assert all(set(structure) == keys for structure in STRUCTURES)

    def test_ids_and_acronyms_are_unique(self):
        assert len(BY_ID) == len(STRUCTURE_ID) == len(STRUCTURES)

    def test_paths_are_depth_first(self):
        path = []
        for order, structure in enumerate(STRUCTURES):
            depth = len(structure["structure_id_path"]) - 1
            path = [*path[:depth], structure["id"]]
            assert structure["structure_id_path"] == path
            assert structure["graph_order"] == order
        assert STRUCTURES[0]["id"] == 997

    def test_reaches_depth_and_id_ranges(self):
        assert max(len(structure["structure_id_path"]) for structure in STRUCTURES) >= 7
        assert len(STRUCTURES) == 488
        assert sum(structure_id > 2**24 for structure_id in BY_ID) >= 10
        assert max(BY_ID) < 2**32

    def test_colours_are_bytes(self):
        for structure in STRUCTURES:
            assert len(structure["rgb_triplet"]) == 3
            assert all(0 <= channel <= 255 for channel in structure["rgb_triplet"])

    def test_dorsal_auditory_area_is_the_allen_one(self):
        area = BY_ID[1011]
        assert area["acronym"] == "AUDd"
        assert area["name"] == "Dorsal auditory area"
        assert area["structure_id_path"] == [997, 8, 567, 688, 695, 315, 247, 1011]
        assert area["rgb_triplet"] == [1, 147, 153]

    def test_sheets_are_named_after_their_area(self):
        assert BY_ID[721]["acronym"] == "VISp4"
        assert BY_ID[721]["name"] == "Primary visual area, layer 4"
        assert BY_ID[10720]["acronym"] == "CUL4, 5gr"

    def test_summary_structures_share_out_the_grey_matter(self):
        summary = {s["id"] for s in STRUCTURES if ontology.SUMMARY_SET in s["structure_set_ids"]}
        for structure in STRUCTURES:
            found = summary.intersection(structure["structure_id_path"])
            assert len(found) <= 1, structure["acronym"]
            if STRUCTURE_ID["grey"] in structure["structure_id_path"] and not found:
                children = [s for s in STRUCTURES if structure["id"] in s["structure_id_path"][:-1]]
                assert children or structure["id"] in EMPTY_STRUCTURE_IDS

    @pytest.mark.parametrize(
        ("set_id", "size"),
        [
            (ontology.MAJOR_DIVISIONS_SET, 12),
            (ontology.VISUAL_AREAS_SET, 6),
            (ontology.CORTEX_SET, 31),
        ],
    )
    def test_set_sizes(self, set_id, size):
        assert sum(set_id in structure["structure_set_ids"] for structure in STRUCTURES) == size

    def test_every_call_builds_new_records(self):
        first, second = ontology.structures(), ontology.structures()
        first[0]["structure_set_ids"].append(1)
        first[0]["rgb_triplet"][0] = 0
        assert second == STRUCTURES


class TestLabels:
    def test_same_numbers_on_every_machine(self, whole):
        assert whole.shape == SHAPE
        assert whole.dtype == np.uint32
        assert hashlib.sha256(whole.astype("<u4").tobytes()).hexdigest() == DIGEST_100_UM

    def test_every_label_is_in_the_ontology(self, whole):
        assert set(np.unique(whole).tolist()) - {0} <= set(BY_ID)

    def test_exactly_the_declared_structures_are_empty(self, totals):
        assert {key for key, count in totals.items() if count == 0} == EMPTY_STRUCTURE_IDS

    def test_background_all_around(self, whole):
        inner = np.zeros(SHAPE, bool)
        inner[1:-1, 1:-1, 1:-1] = True
        assert not whole[~inner].any()
        assert 0.3 < np.count_nonzero(whole) / whole.size < 0.5

    @pytest.mark.parametrize("resolution", [100.0, 75.0, 62.5])
    def test_hemispheres_mirror_each_other(self, resolution):
        ap, dv, ml = centres(resolution)
        block = label_block(ap[::7], dv[::5], ml)
        np.testing.assert_array_equal(block, label_block(ap[::7], dv[::5], EXTENT[2] - ml))

    def test_hemispheres_are_apart_in_the_cortex(self, whole):
        """The two halves of an area meet nowhere but at the midline."""
        middle = slice(SHAPE[2] // 2 - 5, SHAPE[2] // 2 + 5)
        assert not np.isin(whole[:, :, middle], within("VISp")).any()
        assert np.isin(whole[:, :, middle], within("RSP")).any()

    def test_layers_are_nested(self):
        """Down a vertical line through the visual cortex the layers follow each other."""
        dv = np.arange(5.0, EXTENT[1], 10.0)
        column = label_block(np.array([9050.0]), dv, np.array([3550.0])).ravel()
        layers = [BY_ID[label]["acronym"] for label in dict.fromkeys(column[column > 0].tolist())]
        assert layers[:6] == [f"VISp{layer}" for layer in ("1", "2/3", "4", "5", "6a", "6b")]

    def test_fine_voxels_refine_the_coarse_ones(self, whole):
        """A 100 µm voxel has the label of the 20 µm voxel in its middle."""
        ap, dv, ml = (axis[10:-10:23] for axis in centres(100.0))
        fine = [np.unique(np.concatenate([axis - 20, axis, axis + 20])) for axis in (ap, dv, ml)]
        np.testing.assert_array_equal(
            label_block(*fine)[1::3, 1::3, 1::3], whole[10:-10:23, 10:-10:23, 10:-10:23]
        )

    @examples(25)
    @given(
        start=st.tuples(*(st.integers(0, size - 1) for size in SHAPE)),
        size=st.tuples(*(st.integers(0, 40) for _ in SHAPE)),
    )
    def test_a_block_is_that_part_of_the_whole(self, whole, start, size):
        part = tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))
        axes = [axis[window] for axis, window in zip(centres(100.0), part, strict=True)]
        np.testing.assert_array_equal(label_block(*axes), whole[part])

    @examples(10)
    @given(st.permutations(range(12)))
    def test_positions_may_come_in_any_order(self, whole, order):
        ap, dv, ml = (axis[::7][:12][order[: axis[::7][:12].size]] for axis in centres(100.0))
        expected = whole[::7][:12][order][:, ::7][:, order][:, :, ::7][:, :, :12][:, :, order]
        np.testing.assert_array_equal(label_block(ap, dv, ml), expected)


class TestShapes:
    def test_curve_passes_through_its_knots_and_is_level_outside(self):
        curve = Curve(((0, 1), (10, 5), (30, 2)))
        at = np.array([-5.0, 0.0, 10.0, 30.0, 99.0])
        np.testing.assert_allclose(curve(at), [1.0, 1.0, 5.0, 2.0, 2.0])

    @given(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4))
    def test_smooth_extremes_are_near_the_sharp_ones(self, a, b):
        first, second = np.array([a]), np.array([b])
        low, high = (f(first, second, radius=100.0)[0] for f in (smooth_min, smooth_max))
        assert min(a, b) - 25.0 <= low <= min(a, b)
        assert max(a, b) <= high <= max(a, b) + 25.0

    @given(st.floats(-0.999, 2.999))
    def test_diamond_direction_undoes_the_angle(self, angle):
        right, up = diamond_direction(angle)
        assert right * right + up * up == pytest.approx(1.0)
        assert diamond_angle(np.array([right]), np.array([up]))[0] == pytest.approx(angle, abs=1e-6)
