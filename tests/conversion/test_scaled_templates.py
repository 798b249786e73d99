"""Templates whose voxels are stored scaled, as NIfTI allows."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from helpers import commands

import refspace
from refspace.errors import FormatError
from refspace.samples import phantom


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    space = phantom(800)
    refspace.write_nifti(tmp_path / "annotation.nii.gz", space.annotation)
    refspace.write_structures(tmp_path / "structures.json", space.structure_tree)
    return tmp_path


def template(folder: Path, values: np.ndarray) -> Path:
    """Values on the grid of the annotation, stored as int16."""
    affine = nib.load(folder / "annotation.nii.gz").affine
    image = nib.Nifti1Image(values, affine)
    image.set_data_dtype(np.int16)
    image.header.set_xyzt_units("mm")
    nib.save(image, folder / "template.nii.gz")
    return folder / "template.nii.gz"


def test_a_scaled_template_is_stored_with_its_values(folder: Path) -> None:
    shape = nib.load(folder / "annotation.nii.gz").shape
    path = template(folder, np.random.default_rng(0).random(shape))
    wanted = nib.load(path).get_fdata(dtype=np.float32)
    made = folder / "made.zarr"
    result = commands.run(
        *("convert", folder / "annotation.nii.gz", folder / "structures.json", made),
        *("--template", path),
    )
    assert result.exit_code == 0, result.output
    stored = refspace.open(made).template
    assert stored is not None
    assert stored.dtype == np.float32
    ordered = stored.transpose(*refspace.read_nifti(folder / "annotation.nii.gz").dims)
    np.testing.assert_array_equal(ordered.values, wanted)


def test_a_template_is_one_volume(folder: Path) -> None:
    shape = nib.load(folder / "annotation.nii.gz").shape
    path = template(folder, np.random.default_rng(0).random((*shape, 2)))
    arguments = folder / "annotation.nii.gz", folder / "structures.json", folder / "made.zarr"
    with pytest.raises(FormatError, match="holds several volumes, 2 along time; save the one"):
        refspace.convert(*arguments, template=path)
    # Of hemispheres as of labels: they are no intensities.
    with pytest.raises(FormatError, match="save one volume of it"):
        refspace.convert(*arguments, hemispheres=path)
