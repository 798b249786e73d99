"""NRRD files: volumes of the Allen archive are read, masks and labels are written.

Source of the format: its definition, http://teem.sourceforge.net/nrrd/format.html. pynrrd parses
header lines. The voxels are read and written here: pynrrd holds a volume two or three times in
memory, follows a header to any file on the disk, and inflates whatever the stream holds.
"""

from refspace.formats.nrrd.header import NrrdHeader, header_fields, parse_header
from refspace.formats.nrrd.read import NRRD, read_nrrd, read_nrrd_image
from refspace.formats.nrrd.write import nrrd_head, write_nrrd

__all__ = [
    "NRRD",
    "NrrdHeader",
    "header_fields",
    "nrrd_head",
    "parse_header",
    "read_nrrd",
    "read_nrrd_image",
    "write_nrrd",
]
