"""Pictures of reference spaces, drawn with matplotlib (the ``plot`` extra)."""

from refspace.plotting.slices import PLANES, picture_ending, plot_slice, save_slice

__all__ = ["PLANES", "picture_ending", "plot_slice", "save_slice"]
