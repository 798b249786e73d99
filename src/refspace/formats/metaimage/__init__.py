"""MetaImage files: volumes of ITK, elastix and the Allen Institute's grids are read, and written.

Source of the format: https://itk.org/Wiki/ITK/MetaIO/Documentation, and what ITK's own reader makes
of files. A header is lines of ``key = value``, before the voxels (``.mha``) or in a file of its own
(``.mhd``) that names the one beside it which holds them.
"""

from refspace.formats.metaimage.header import METAIMAGE, parse_header
from refspace.formats.metaimage.write import write_metaimage

__all__ = ["METAIMAGE", "parse_header", "write_metaimage"]
