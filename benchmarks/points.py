"""Points that look-ups are measured with."""

from collections.abc import Sequence
from typing import Any

import numpy as np


def random_points(extent: Sequence[float], count: int) -> Any:
    """Positions in µm within a volume, the same ones each time."""
    return np.random.default_rng(0).random((count, 3)) * extent
