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
    blocks_from_both_ends,
    check_both_sides,
    check_hemisphere,
    check_hemispheres_dtype,
    hemisphere_flags,
    midline_attrs,
    stated_midline,
    with_hemispheres,
)
from refspace.labels.midline import (
    Midline,
    midline_of_world,
    resolve_midline,
    warn_of_one_side,
)
from refspace.labels.plausible import is_near, warn_of_odd_resolution, warn_of_other_unit
from refspace.labels.reorienting import (
    along_frame,
    in_frame,
    midline_in_frame,
    reorient,
    turn_onto,
)
from refspace.labels.resampling import Method, downsample
from refspace.labels.volume import LabelVolume

__all__ = [
    "HEMISPHERES",
    "HEMISPHERES_ATTRS",
    "LabelVolume",
    "Method",
    "Midline",
    "along_frame",
    "as_annotation",
    "as_hemispheres",
    "axis_attrs",
    "blocks_from_both_ends",
    "check_both_sides",
    "check_hemisphere",
    "check_hemispheres_dtype",
    "downsample",
    "hemisphere_flags",
    "in_frame",
    "infer_grid",
    "is_masked",
    "is_near",
    "labelled",
    "midline_attrs",
    "midline_in_frame",
    "midline_of_world",
    "reorient",
    "resolve_midline",
    "stated_midline",
    "turn_onto",
    "unsigned_labels",
    "warn_of_odd_resolution",
    "warn_of_one_side",
    "warn_of_other_unit",
    "with_hemispheres",
]
