"""Files of masks whose headers are damaged are not taken for the masks."""

import functools
import gzip
import struct

import numpy as np
import pytest
from helpers.files import contents

import refspace
from refspace.errors import JobError
from refspace.formats.volumes import write_volume
from refspace.labels import in_frame


@pytest.fixture(scope="module")
def small():
    return refspace.phantom(resolution=400)


def header_and_rest(path):
    """The header of a file of ours, and the other bytes, both inflated."""
    data = path.read_bytes()
    if path.suffix == ".gz":
        data = gzip.decompress(data)
        start = int(np.frombuffer(data, "<f4", 1, 108)[0])
        return data[:start], data[start:]
    header, _, rest = data.partition(b"\n\n")
    return header, b"\n\n" + rest


def write_header(path, header, rest):
    """Write a file with another header of the same length, as `header_and_rest` has them."""
    path.write_bytes(gzip.compress(header + rest) if path.suffix == ".gz" else header + rest)


# What of the header is damaged, and how.
DAMAGE = {
    ".nrrd": [
        (b"refspace_frame:=PIR", b"refspace_frame:=PIL"),
        (b"refspace_frame:=PIR", b"refspace_fraMe:=PIR"),
        (b"refspace_midline_um:=56", b"refspace_midline_um:=57"),
        (b"refspace_midline_um", b"refspace_midline_uM"),
        (b"refspace_hemisphere:=left", b"refspace_hEmisphere:=left"),
        (b"type: uint8", b"type:  int8"),
        (b"space: left-posterior-superior", b"space: leff-posterior-superior"),
        (b"space: left-posterior-superior", b"space:right-anterior-superior "),
        (b"space origin", b"space oregin"),
        (b"space units", b"space unitz"),
        (b'"mm" "mm" "mm"', b'"um" "um" "um"'),
        (b"space directions: (0,", b"space directions: (1,"),
    ],
    ".gz": [
        (b'refspace_frame": "PIR', b'refspace_frame": "PIL'),
        (b"refspace_frame", b"refspace_framE"),
        (b'refspace_midline_um": 56', b'refspace_midline_um": 57'),
        (b"refspace_midline_um", b"refspace_midline_uM"),
        (b'hemisphere": "left"', b'hemispherE": "left"'),
        (b"refspace_", b"refspacE_"),
        (70, struct.pack("<2h", 256, 8)),  # type and bits: int8
        (123, b"\x03"),  # unit: µm
        (252, struct.pack("<2h", 0, 0)),  # no form
        (280, struct.pack("<f", 0.05)),  # the sform, oblique
        (292, struct.pack("<f", 0.05)),  # its origin
    ],
}


@pytest.mark.promise("the header of a mask is damaged", "it is refused, or written again")
@pytest.mark.parametrize("is_recorded", [True, False])
@pytest.mark.parametrize(("format", "ending"), [("nrrd", ".nrrd"), ("nifti", ".nii.gz")])
def test_headers_that_are_damaged(small, tmp_path, format, ending, is_recorded):
    left = small.hemisphere("left")
    write = functools.partial(refspace.write_masks, left, tmp_path, ["TH"], format=format)
    write()
    path = tmp_path / f"structure_549{ending}"
    whole = contents(tmp_path)
    header, rest = header_and_rest(path)
    for what, other in DAMAGE[path.suffix]:
        at = what if isinstance(what, int) else header.index(what)
        damaged = header[:at] + other + header[at + len(other) :]
        assert damaged != header
        write_header(path, damaged, rest)
        if not is_recorded:
            (tmp_path / ".refspace" / f"{path.name}.json").unlink()
        with pytest.raises(JobError) as caught:
            write()
        said = "was changed since it was written here" if is_recorded else "is no mask of that st"
        assert said in caught.value.failures[path.name], other
        for name, data in whole.items():
            (tmp_path / name).write_bytes(data)
    write_header(path, damaged, rest)
    assert write(overwrite=True).written == 1
    assert contents(tmp_path) == whole


@pytest.mark.parametrize(("format", "ending"), [("nrrd", ".nrrd"), ("nifti", ".nii.gz")])
def test_a_mask_with_coordinates_of_another_frame_is_another(small, tmp_path, format, ending):
    path = tmp_path / f"structure_549{ending}"
    write_volume(path, in_frame(small.make_structure_mask("TH"), "LPS"))
    with pytest.raises(JobError, match="is no mask of that structure"):
        refspace.write_masks(small, tmp_path, ["TH"], format=format)
