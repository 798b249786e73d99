"""What nilearn does with the voxels in memory."""

from typing import Any

import numpy as np
from nibabel.nifti1 import Nifti1Image
from nilearn.maskers import NiftiLabelsMasker

from benchmarks import answers
from benchmarks.measurement import Inputs, Timed


def mean(inputs: Inputs) -> Timed:
    """Mean of an image in each label, by the labels masker; ids are dense before."""
    labels, image = (np.load(inputs.path(name)) for name in ("annotation.npy", "image.npy"))
    ids, dense = np.unique(labels, return_inverse=True)
    affine = np.diag([*[inputs.resolution / 1000] * 3, 1])
    nifti: Any = Nifti1Image
    relabelled = nifti(dense.reshape(labels.shape).astype("i2"), affine)
    values = nifti(image[..., np.newaxis], affine)
    masker = NiftiLabelsMasker(relabelled, standardize=None, resampling_target=None)
    return Timed(
        lambda _: masker.fit_transform(values),
        lambda means: answers.of_numbers(ids[1:], np.ravel(means)),
    )
