"""What BrainGlobe's own reader does with an atlas that is on the disk."""

from typing import Any

from brainglobe_atlasapi import BrainGlobeAtlas

from benchmarks import answers
from benchmarks.measurement import Inputs, Timed


def _opened(inputs: Inputs) -> Any:
    name = f"benchmark_{float(inputs.resolution)}um"
    return BrainGlobeAtlas(name, brainglobe_dir=inputs.path("brainglobe"), check_latest=False)


def open_atlas(inputs: Inputs) -> Timed:
    """The atlas, without its voxels."""
    return Timed(lambda _: _opened(inputs))


def every_voxel(inputs: Inputs) -> Timed:
    """All voxels in memory."""
    return Timed(lambda atlas: atlas.annotation, answers.of_array, lambda: _opened(inputs))
