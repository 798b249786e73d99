"""NIfTI files: volumes of human brain atlases and of most imaging are read, masks are written.

Source of the format: its definition, https://nifti.nimh.nih.gov/nifti-1 and nifti-2. nibabel, which
is optional, parses headers. The voxels are read here: nibabel holds a compressed volume several
times in memory, and inflates whatever the stream holds.
"""

from refspace.formats.nifti.header import parse_header
from refspace.formats.nifti.read import NIFTI, read_nifti, read_nifti_image
from refspace.formats.nifti.write import nifti_head, write_nifti

__all__ = [
    "NIFTI",
    "nifti_head",
    "parse_header",
    "read_nifti",
    "read_nifti_image",
    "write_nifti",
]
