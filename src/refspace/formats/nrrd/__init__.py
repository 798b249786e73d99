"""NRRD files: volumes of the Allen archive in, masks and labels out.

Facts about the format are from its definition, http://teem.sourceforge.net/nrrd/format.html.
pynrrd parses header lines. The voxels it does not read or write: it holds a volume two or three
times, follows a header to any file on the disk and inflates whatever the stream holds.
"""

from refspace.formats.nrrd.header import NrrdHeader, read_header
from refspace.formats.nrrd.read import NrrdStream, read_nrrd
from refspace.formats.nrrd.write import write_nrrd

__all__ = ["NrrdHeader", "NrrdStream", "read_header", "read_nrrd", "write_nrrd"]
