"""TIFF files: volumes of microscopes and of ImageJ are read, labels and images are written.

Source of the format: https://www.itu.int/itudoc/itu-t/com16/tiff-fx/docs/tiff6.pdf; of ImageJ's
text, https://imagej.net/ij/source/ij/io/FileInfo.java.html and what ImageJ writes; of OME-XML, see
`ome`. tifffile, which is optional, parses directories and writes files. Strips and tiles are read
and decoded here: tifffile holds what it reads as a whole, inflates whatever a stream holds, and
follows OME-XML to other files of the disk.
"""

from refspace.formats.tiff.header import parse_header
from refspace.formats.tiff.read import TIFF, read_tiff, read_tiff_image
from refspace.formats.tiff.write import TIFF_ENDINGS, write_tiff

__all__ = [
    "TIFF",
    "TIFF_ENDINGS",
    "parse_header",
    "read_tiff",
    "read_tiff_image",
    "write_tiff",
]
