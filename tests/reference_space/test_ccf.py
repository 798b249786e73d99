"""Known answers of the real annotation, CCF 2017 at 25 µm."""

import numpy as np
import pytest

import refspace

pytestmark = pytest.mark.ccf

SHAPE = (528, 320, 456)
AUDD, VISP, ISOCORTEX, ROOT, EMPTY = 1011, 385, 315, 997, 12997


@pytest.fixture(scope="module")
def space(ccf_data):
    return refspace.open(ccf_data / "annotation_25.nrrd", structures=ccf_data / "structures_1.json")


def test_geometry(space):
    # The header claims left-posterior-superior; the voxels run to posterior, inferior and right.
    assert space.annotation.shape == SHAPE
    assert space.annotation.dims == ("ap", "dv", "ml")
    assert space.annotation.dtype == np.uint32
    assert space.resolution == (25, 25, 25)
    assert space.grid.orientation == "PIR"
    assert space.grid.extent == (13200, 8000, 11400)


def test_structures(space):
    assert len(space.structure_tree) == 1327
    assert max(space.structure_tree.node_ids()) == 614454277


def test_counts(space):
    total = space.total_voxel_map
    assert {i: total[i] for i in (VISP, ISOCORTEX, AUDD, EMPTY)} == {
        VISP: 452_664,
        ISOCORTEX: 7_891_055,
        AUDD: 77_718,
        EMPTY: 0,
    }
    assert sum(count > 0 for count in total.values()) == 839
    # 671 labels and the background, all of them in the tree.
    assert sum(count > 0 for count in space.direct_voxel_map.values()) == 671
    assert space.voxel_counts().attrs["unknown_ids"] == []


def test_volumes(space):
    volume = space.voxel_counts().volume
    assert volume.sel(structure=VISP).item() == pytest.approx(452_664 * 0.025**3)


def test_a_mask_has_as_many_voxels_as_were_counted(space):
    mask = space.make_structure_mask("Isocortex")
    assert int(mask.sum()) == 7_891_055
    assert not space.make_structure_mask([EMPTY]).any()


def test_unassigned_structures(space):
    assert len(space.remove_unassigned(update_self=False)) == 839


@pytest.mark.parametrize("method", ["nearest", "allensdk"])
def test_downsampling(space, method):
    coarse = space.downsample([75, 75, 75], method)
    assert coarse.annotation.shape == (176, 107, 152)
    assert coarse.total_voxel_map[ISOCORTEX] == pytest.approx(7_891_055 / 27, rel=0.02)


def test_downsampling_as_published(space):
    coarse = space.downsample(100, "corner").annotation
    np.testing.assert_array_equal(coarse, space.annotation.values[::4, ::4, ::4])


def test_downsampling_by_majority(space):
    coarse = space.downsample(100, "mode")
    assert coarse.annotation.shape == (132, 80, 114)
    assert coarse.total_voxel_map[ISOCORTEX] == pytest.approx(7_891_055 / 64, rel=0.02)
    assert coarse.voxel_counts().attrs["unknown_ids"] == []


def test_slices(space):
    image = space.get_slice_image(1, 5000)
    assert image.shape == (528, 456, 3)
    plane = space.annotation.isel(dv=200).values
    colors = space.structure_tree.get_colormap()
    for row, column in [(0, 0), (264, 100), (264, 355), (300, 228)]:
        label = int(plane[row, column])
        assert image[row, column].values.tolist() == (list(colors[label]) if label else [0, 0, 0])


def test_itksnap_labels(space):
    coarse = space.downsample(100)
    annotation, table = coarse.export_itksnap_labels()
    assert annotation.dtype == np.uint16
    assert table["IDX"].tolist() == list(range(1, 1328))
    assert int(annotation.max()) <= 1327
    number = table.set_index("LABEL")["IDX"]["AUDd1"]
    layer_1 = space.structure_tree.resolve("AUDd1")[0]
    assert int((annotation == number).sum()) == coarse.direct_voxel_map[layer_1]


@pytest.mark.parametrize("structure", [VISP, AUDD, 1009, 863, 1])
def test_meshes_have_the_volume_of_the_voxels(space, structure):
    mesh = space.mesh(structure)
    assert mesh.is_closed
    expected = space.total_voxel_map[structure] * 0.025**3
    assert mesh.volume == pytest.approx(expected, rel=0.002)
    box = space.bounds(structure).positions
    expected = np.array([box[dim] for dim in ("ap", "dv", "ml")]).T
    assert np.abs(mesh.bounds - expected).max() <= 12.5
