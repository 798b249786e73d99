"""Arrays of all formats go to another process as the paths of their files."""

import pickle
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from refspace.formats.metaimage import write_metaimage
from refspace.formats.volumes import read_volume
from refspace.grid import Grid
from refspace.labels import labelled

SHAPE = (50, 40, 30)
VOXELS = np.random.default_rng(7).integers(0, 120, SHAPE).astype("i4")


@pytest.mark.slow
def test_voxels_are_read_in_another_process(tmp_path: Path) -> None:
    write_metaimage(tmp_path / "x.mhd", labelled(VOXELS, Grid(SHAPE, (25, 25, 25))))
    nib.save(nib.MGHImage(VOXELS, np.eye(4)), tmp_path / "x.mgz")
    np.save(tmp_path / "x.npy", VOXELS.astype(">i4"))
    told = {"x.npy": {"resolution": 25, "orientation": "PIR"}}
    arrays = [read_volume(tmp_path / n, **told.get(n, {})) for n in ("x.mhd", "x.mgz", "x.npy")]
    pickled = pickle.dumps(arrays)
    assert len(pickled) < VOXELS.nbytes // 10
    (tmp_path / "pickled").write_bytes(pickled)
    code = (
        "import pickle, sys; print(*[int(a.sum()) for a in pickle.load(open(sys.argv[1], 'rb'))])"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, tmp_path / "pickled"],
        capture_output=True,
        check=True,
        text=True,
    )
    assert done.stdout.split() == [str(VOXELS.sum())] * 3
