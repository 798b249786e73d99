"""Label volumes: arrays of structure ids, their hemispheres, and what their blocks hold."""

from typing import TYPE_CHECKING

from refspace.lazy import lazy_names

if TYPE_CHECKING:
    from refspace.labels.annotation import as_annotation as as_annotation
    from refspace.labels.annotation import axis_attrs as axis_attrs
    from refspace.labels.annotation import infer_grid as infer_grid
    from refspace.labels.annotation import is_masked as is_masked
    from refspace.labels.annotation import labelled as labelled
    from refspace.labels.annotation import unsigned_labels as unsigned_labels
    from refspace.labels.cropping import crop_volume as crop_volume
    from refspace.labels.hemispheres import HEMISPHERES as HEMISPHERES
    from refspace.labels.hemispheres import HEMISPHERES_ATTRS as HEMISPHERES_ATTRS
    from refspace.labels.hemispheres import as_hemispheres as as_hemispheres
    from refspace.labels.hemispheres import blocks_from_both_ends as blocks_from_both_ends
    from refspace.labels.hemispheres import check_both_sides as check_both_sides
    from refspace.labels.hemispheres import check_hemisphere as check_hemisphere
    from refspace.labels.hemispheres import check_hemispheres_dtype as check_hemispheres_dtype
    from refspace.labels.hemispheres import hemisphere_flags as hemisphere_flags
    from refspace.labels.hemispheres import midline_attrs as midline_attrs
    from refspace.labels.hemispheres import stated_midline as stated_midline
    from refspace.labels.hemispheres import with_hemispheres as with_hemispheres
    from refspace.labels.midline import Midline as Midline
    from refspace.labels.midline import midline_in_frame as midline_in_frame
    from refspace.labels.midline import midline_of_world as midline_of_world
    from refspace.labels.midline import resolve_midline as resolve_midline
    from refspace.labels.midline import warn_of_one_side as warn_of_one_side
    from refspace.labels.plausible import is_near as is_near
    from refspace.labels.plausible import warn_of_odd_resolution as warn_of_odd_resolution
    from refspace.labels.plausible import warn_of_other_unit as warn_of_other_unit
    from refspace.labels.reorienting import along_frame as along_frame
    from refspace.labels.reorienting import in_frame as in_frame
    from refspace.labels.reorienting import reorient as reorient
    from refspace.labels.reorienting import turn_onto as turn_onto
    from refspace.labels.resampling import Method as Method
    from refspace.labels.resampling import downsample as downsample
    from refspace.labels.volume import LabelVolume as LabelVolume

_MODULES = {
    "HEMISPHERES": "refspace.labels.hemispheres",
    "HEMISPHERES_ATTRS": "refspace.labels.hemispheres",
    "LabelVolume": "refspace.labels.volume",
    "Method": "refspace.labels.resampling",
    "Midline": "refspace.labels.midline",
    "along_frame": "refspace.labels.reorienting",
    "as_annotation": "refspace.labels.annotation",
    "as_hemispheres": "refspace.labels.hemispheres",
    "axis_attrs": "refspace.labels.annotation",
    "blocks_from_both_ends": "refspace.labels.hemispheres",
    "check_both_sides": "refspace.labels.hemispheres",
    "check_hemisphere": "refspace.labels.hemispheres",
    "check_hemispheres_dtype": "refspace.labels.hemispheres",
    "crop_volume": "refspace.labels.cropping",
    "downsample": "refspace.labels.resampling",
    "hemisphere_flags": "refspace.labels.hemispheres",
    "in_frame": "refspace.labels.reorienting",
    "infer_grid": "refspace.labels.annotation",
    "is_masked": "refspace.labels.annotation",
    "is_near": "refspace.labels.plausible",
    "labelled": "refspace.labels.annotation",
    "midline_attrs": "refspace.labels.hemispheres",
    "midline_in_frame": "refspace.labels.midline",
    "midline_of_world": "refspace.labels.midline",
    "reorient": "refspace.labels.reorienting",
    "resolve_midline": "refspace.labels.midline",
    "stated_midline": "refspace.labels.hemispheres",
    "turn_onto": "refspace.labels.reorienting",
    "unsigned_labels": "refspace.labels.annotation",
    "warn_of_odd_resolution": "refspace.labels.plausible",
    "warn_of_one_side": "refspace.labels.midline",
    "warn_of_other_unit": "refspace.labels.plausible",
    "with_hemispheres": "refspace.labels.hemispheres",
}

__all__ = sorted(_MODULES)

__getattr__, __dir__ = lazy_names(__name__, _MODULES)
