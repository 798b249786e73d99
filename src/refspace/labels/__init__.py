"""Label volumes: arrays of structure ids, their hemispheres, and what their blocks hold."""

from refspace.labels.annotation import (
    as_annotation,
    axis_attrs,
    infer_grid,
    is_masked,
    labelled,
    unsigned_labels,
)
from refspace.labels.hemispheres import (
    HEMISPHERES,
    HEMISPHERES_ATTRS,
    as_hemispheres,
    check_hemisphere,
    check_hemispheres_dtype,
    hemisphere_flags,
    resolve_midline,
    stated_midline,
    with_hemispheres,
)
from refspace.labels.plausible import is_near, warn_of_odd_resolution, warn_of_other_unit
from refspace.labels.reorienting import along_frame, in_frame, reorient, turn_onto
from refspace.labels.resampling import Method, downsample
from refspace.labels.volume import LabelVolume

__all__ = [
    "HEMISPHERES",
    "HEMISPHERES_ATTRS",
    "LabelVolume",
    "Method",
    "along_frame",
    "as_annotation",
    "as_hemispheres",
    "axis_attrs",
    "check_hemisphere",
    "check_hemispheres_dtype",
    "downsample",
    "hemisphere_flags",
    "in_frame",
    "infer_grid",
    "is_masked",
    "is_near",
    "labelled",
    "reorient",
    "resolve_midline",
    "stated_midline",
    "turn_onto",
    "unsigned_labels",
    "warn_of_odd_resolution",
    "warn_of_other_unit",
    "with_hemispheres",
]
