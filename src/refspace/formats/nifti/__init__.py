"""NIfTI files: atlases of the human brain, and of most imaging, in; masks out.

Facts about the format are from its definition, https://nifti.nimh.nih.gov/nifti-1 and nifti-2.
nibabel, which is optional, parses headers. The voxels it does not read: it holds a compressed
volume several times, and inflates whatever the stream holds.
"""

from refspace.formats.nifti.header import NiftiHeader, read_header
from refspace.formats.nifti.read import NiftiStream, read_nifti
from refspace.formats.nifti.write import write_nifti

__all__ = ["NiftiHeader", "NiftiStream", "read_header", "read_nifti", "write_nifti"]
