"""What is read where masks were made before, as channels of an image in BrainGlobe's layout."""

from typing import Any

import numpy as np
import zarr

from benchmarks import answers
from benchmarks.measurement import Inputs, Timed


def mask(inputs: Inputs) -> Timed:
    """Mask of one structure: its channel."""
    (acronym,) = inputs.given["structures"]

    def opened() -> Any:
        return zarr.open_group(inputs.at("masks_4d.zarr"), mode="r")

    channel = opened().attrs["acronyms"].index(acronym)
    return Timed(lambda group: np.asarray(group["s0"][channel]), answers.of_array, opened)
