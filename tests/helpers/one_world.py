"""One brain in a world, as other programs write it in any order, and what NumPy says of it.

The world is that of NIfTI: x, y and z grow to the right, anterior and superior, in µm here.
"""

import itertools
import warnings
from typing import Any, NamedTuple

import ngff_zarr
import nibabel as nib
import nrrd
import numpy as np
import pytest
import SimpleITK
import xarray as xr
import zarr
from nibabel.orientations import apply_orientation, axcodes2ornt, ornt_transform
from ome_zarr.format import FormatV05

from refspace import StructureTree

# All orders and directions of axes.
ORDERS = [
    "".join(letters)
    for axes in itertools.permutations(("LR", "PA", "IS"))
    for letters in itertools.product(*axes)
]
# Each in the order of its x, y and z.
FRAMES = ["RAS", "PIR", "LPS", "AIL", "LAS"]
_NODES = {997: (), 8: (997,), 1: (997, 8), 2: (997, 8), 3: (997,)}
TREE = StructureTree(
    [
        {"id": i, "acronym": f"S{i}", "name": f"s{i}", "structure_id_path": [*above, i]}
        for i, above in _NODES.items()
    ]
)
# Labels along right, anterior, superior; of the corner of the volume and of a voxel, in µm. The
# midline is at 0, and the middle of the volume on the same side of every voxel.
_NUMBERS = np.random.default_rng(5)
LABELS = _NUMBERS.choice(np.array([0, 1, 2, 3, 8, 997], "u2"), (6, 4, 5), p=[0.3, *[0.14] * 5])
LABELS[5, 3, 4], LABELS[0, 0, 0] = 1, 3
IMAGE = _NUMBERS.random(LABELS.shape).astype("f4")
SIDES = np.ones(LABELS.shape, "u1")
SIDES[3:] = 2
SPACING = np.array([200.0, 300.0, 250.0])
CORNER = np.array([-620.0, -700.0, 100.0])
# Of every voxel, in the order of the array.
CENTRES = CORNER + (np.indices(LABELS.shape).reshape(3, -1).T + 0.5) * SPACING

_MICROMETRES = {"mm": 1e3, "µm": 1.0, "m": 1e6}
# Axis of the world of each letter, and whether it runs as that does.
_AXES = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
_NAMES = ("ml", "ap", "dv")
_UNIT_NAMES = {"mm": "millimeter", "µm": "micrometer"}
_RFC_4 = {
    **{"R": "left-to-right", "L": "right-to-left", "A": "posterior-to-anterior"},
    **{"P": "anterior-to-posterior", "S": "inferior-to-superior", "I": "superior-to-inferior"},
}


class Stored(NamedTuple):
    """Voxels in an order: the array, and rows from its indices to the world's positions."""

    array: np.ndarray
    affine: np.ndarray

    @property
    def spacing(self) -> list[float]:
        """µm along each axis of the array."""
        return np.linalg.norm(self.affine[:3, :3], axis=0).tolist()

    def first(self, unit: str) -> list[float]:
        """Centre of the first voxel along each axis of the array, towards which it grows."""
        axes = np.abs(self.affine[:3, :3]).argmax(axis=0)
        signs = np.sign(self.affine[axes, range(3)])
        return (self.affine[axes, 3] * signs / _MICROMETRES[unit]).tolist()


def stored(voxels: np.ndarray, order: str) -> Stored:
    """Turn voxels of the world into an order, by nibabel."""
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(order))
    affine = np.diag([*SPACING, 1.0])
    affine[:3, 3] = CORNER + SPACING / 2
    return Stored(
        np.ascontiguousarray(apply_orientation(voxels, turn)),
        affine @ nib.orientations.inv_ornt_aff(turn, voxels.shape),
    )


# ----- writers of others; each returns the path, and what `refspace.open` is to be told


def write_nifti(folder, voxels, order, unit="mm", stated=True):
    """File of nibabel."""
    array, affine = stored(voxels, order)
    path = folder / f"{order}_{unit}_{stated}_{voxels.dtype}.nii"
    affine = np.diag([*[1 / _MICROMETRES[unit]] * 3, 1]) @ affine
    image = nib.Nifti1Image(array, affine)
    if stated:
        image.header.set_xyzt_units({"mm": "mm", "µm": "micron", "m": "meter"}[unit])
    nib.save(image, path)
    return path, {} if stated else {"resolution": stored(voxels, order).spacing}


def write_itk(folder, voxels, order, unit="mm", stated=False):
    """File of SimpleITK, which writes mm, left-posterior-superior, and no unit."""
    array, affine = stored(voxels, order)
    image = SimpleITK.GetImageFromArray(array.T)
    lps = np.diag([-1.0, -1, 1]) @ affine[:3] / 1e3
    lengths = np.linalg.norm(lps[:, :3], axis=0)
    image.SetSpacing(lengths.tolist())
    image.SetDirection((lps[:, :3] / lengths).ravel().tolist())
    image.SetOrigin(lps[:, 3].tolist())
    path = folder / f"itk_{order}_{voxels.dtype}.nrrd"
    SimpleITK.WriteImage(image, str(path))
    return path, {"resolution": stored(voxels, order).spacing} | _trusted("LPS", order)


def write_nrrd(folder, voxels, order, unit="mm", stated=True, space="RAS"):
    """File of pynrrd, in a space of its own."""
    array, affine = stored(voxels, order)
    signs = np.diag([1.0 if letter in "RAS" else -1.0 for letter in space])
    affine = signs @ affine[:3] / _MICROMETRES[unit]
    names = {"R": "right", "A": "anterior", "S": "superior", "L": "left", "P": "posterior"}
    header: dict[str, Any] = {
        "space": "-".join(names[letter] for letter in space),
        "space directions": affine[:, :3].T,
        "space origin": affine[:, 3],
    }
    if stated:
        header["space units"] = [{"mm": "mm", "µm": "um", "m": "m"}[unit]] * 3
    path = folder / f"{space}_{order}_{unit}_{stated}_{voxels.dtype}.nrrd"
    nrrd.write(str(path), array, header)
    left_open = {} if stated else {"resolution": stored(voxels, order).spacing}
    return path, left_open | _trusted(space, order)


def _trusted(space, order):
    """What is asked of axes along left-posterior-superior, which Allen's files state wrongly."""
    return {"orientation": "LPS"} if space == order == "LPS" else {}


def write_ngff(folder, voxels, order, unit="mm", stated=True):
    """Image of ngff-zarr, whose positions grow with the index."""
    here = stored(voxels, order)
    scale = [length / _MICROMETRES[unit] for length in here.spacing]
    image = ngff_zarr.to_ngff_image(
        here.array,
        dims=list("zyx"),
        scale=dict(zip("zyx", scale, strict=True)),
        translation=dict(zip("zyx", here.first(unit), strict=True)),
        axes_units=dict.fromkeys("zyx", _UNIT_NAMES[unit]) if stated else None,
    )
    ends = {
        name: ngff_zarr.AnatomicalOrientation(
            value=ngff_zarr.AnatomicalOrientationValues(_RFC_4[end])
        )
        for name, end in zip("zyx", order, strict=True)
    }
    levels = ngff_zarr.to_multiscales(image, scale_factors=[], orientation=ends)
    path = folder / f"ngff_{order}_{unit}_{stated}_{voxels.dtype}.zarr"
    ngff_zarr.to_ngff_zarr(path, levels, version="0.5")
    return path, {} if stated else {"resolution": here.spacing}


def write_ome(folder, voxels, order, unit="mm", stated=True):
    """Image of zarr, with the metadata of ome-zarr-py; positions grow with the index."""
    here = stored(voxels, order)
    axes = [
        {"name": name, "type": "space", "orientation": {"type": "anatomical", "value": _RFC_4[end]}}
        | ({"unit": _UNIT_NAMES[unit]} if stated else {})
        for name, end in zip("zyx", order, strict=True)
    ]
    scale = [length / _MICROMETRES[unit] for length in here.spacing]
    steps = [
        {"type": "scale", "scale": scale},
        {"type": "translation", "translation": here.first(unit)},
    ]
    path = folder / f"ome_{order}_{unit}_{stated}_{voxels.dtype}.zarr"
    group = zarr.open_group(path, mode="w")
    group.create_array("0", data=here.array)
    with warnings.catch_warnings():
        # Its default arguments are deprecated, by itself.
        warnings.simplefilter("ignore")
        import ome_zarr.writer
    ome_zarr.writer.write_multiscales_metadata(
        group, [{"path": "0", "coordinateTransformations": steps}], fmt=FormatV05(), axes=axes
    )
    return path, {} if stated else {"resolution": here.spacing}


# How a volume may be written: the writer, and its arguments.
WAYS = {
    "nifti": (write_nifti, {}),
    "nifti µm": (write_nifti, {"unit": "µm"}),
    "nifti m": (write_nifti, {"unit": "m"}),
    "nifti without a unit": (write_nifti, {"stated": False}),
    "nifti µm without a unit": (write_nifti, {"unit": "µm", "stated": False}),
    "itk": (write_itk, {}),
    "nrrd": (write_nrrd, {}),
    "nrrd µm": (write_nrrd, {"unit": "µm"}),
    "nrrd lps": (write_nrrd, {"space": "LPS"}),
    "nrrd lps µm": (write_nrrd, {"unit": "µm", "space": "LPS"}),
    "nrrd without a unit": (write_nrrd, {"stated": False}),
    "nrrd µm without a unit": (write_nrrd, {"unit": "µm", "stated": False}),
    "ngff": (write_ngff, {}),
    "ngff µm": (write_ngff, {"unit": "µm"}),
    "ome": (write_ome, {}),
    "ome µm": (write_ome, {"unit": "µm"}),
    "ome without a unit": (write_ome, {"stated": False}),
}


def write(folder, way, order, voxels=LABELS):
    """Write voxels as others do; the path, and what it leaves open."""
    writer, how = WAYS[way]
    return writer(folder, voxels, order, **how)


# ----- what is right, by NumPy


def in_frame(points: np.ndarray, frame: str) -> np.ndarray:
    """Positions of the world along x, y and z of a frame."""
    return np.stack([points[:, _AXES[f][0]] * _AXES[f][1] for f in frame], axis=1)


def named(points: np.ndarray, frame: str) -> dict[str, np.ndarray]:
    """Positions of the world by the names of axes, in a frame."""
    return dict(zip((_NAMES[_AXES[f][0]] for f in frame), in_frame(points, frame).T, strict=True))


def subtree(structure: int) -> np.ndarray:
    """Voxels of a structure and of those below it."""
    return np.isin(LABELS, [i for i, above in _NODES.items() if structure in (*above, i)])


# ----- the questions


def ask_where(space, frame: str) -> None:
    """Structures of points: in arrays, tables and DataArrays, and what is at a coordinate."""
    numbers = LABELS.ravel().astype("i8")
    # Off the centre, a quarter of a voxel.
    points = CENTRES + SPACING / 4 * (-1.0) ** np.arange(len(CENTRES))[:, None]
    outside = CENTRES[:1] - np.array([0, 0, 300])
    array = in_frame(np.concatenate([points, outside]), frame)
    expected = [*numbers, -1]
    np.testing.assert_array_equal(space.structure_at(array), expected)
    np.testing.assert_array_equal(space.structure_at(array / 1000, unit="mm"), expected)
    by_name = named(np.concatenate([points, outside]), frame)
    for columns in (by_name, dict(zip("xyz", array.T, strict=True))):
        table = xr.Dataset({k: ("point", v) for k, v in columns.items()}).to_dataframe()
        np.testing.assert_array_equal(space.structure_at(table), expected)
        names = list(columns)[::-1]
        given = xr.DataArray(
            np.stack([columns[name] for name in names]), {"axis": names}, ("axis", "point")
        )
        np.testing.assert_array_equal(space.structure_at(given), expected)
    mask = space.make_structure_mask(8)
    at = {name: xr.DataArray(v[:-1], dims="point") for name, v in by_name.items()}
    np.testing.assert_array_equal(mask.sel(at, method="nearest"), subtree(8).ravel())


def ask_how_many(space, frame: str, sides: np.ndarray = SIDES) -> None:
    """Counts of voxels and points, of both sides."""
    assert space.total_voxel_map == {i: int(subtree(i).sum()) for i in _NODES}
    counted = space.voxel_counts(by_hemisphere=True).total.compute()
    points = space.count_points(in_frame(CENTRES, frame), by_hemisphere=True).points.compute()
    for structure in _NODES:
        expected = [int(subtree(structure)[sides == number].sum()) for number in (1, 2)]
        for table in (counted, points):
            here = table.sel(structure=structure, hemisphere=["left", "right"])
            assert here.values.tolist() == expected


def ask_shape(space, frame: str) -> None:
    """Centroids and boxes."""
    for structure in (1, 8):
        inside = subtree(structure).ravel()
        middle = named(CENTRES[inside].mean(axis=0)[None], frame)
        assert space.centroid(structure) == {n: approx(v[0]) for n, v in middle.items()}
        corners = (
            CENTRES[inside].min(axis=0) - SPACING / 2,
            CENTRES[inside].max(axis=0) + SPACING / 2,
        )
        box = named(np.stack(corners), frame)
        found = space.bounds(structure).positions
        assert found == {n: (approx(v.min()), approx(v.max())) for n, v in box.items()}


def ask_means(space, image) -> None:
    """Means of an image that lies in the world."""
    table = space.aggregate(image, statistics=["mean", "count"], by_hemisphere=True).compute()
    for structure, (number, side) in itertools.product(_NODES, [(1, "left"), (2, "right")]):
        values = IMAGE[subtree(structure) & (number == SIDES)]
        here = table.sel(structure=structure, hemisphere=side)
        assert int(here["count"]) == len(values)
        assert float(here["mean"]) == approx(values.astype("f8").mean())


def ask_template(space, frame: str) -> None:
    """Values of the template."""
    at = {name: xr.DataArray(v, dims="point") for name, v in named(CENTRES, frame).items()}
    found = space.template.sel(at, method="nearest")
    np.testing.assert_array_equal(found, IMAGE.ravel())


def ask_briefly(space, frame: str) -> None:
    """Ask what tells whether everything is in its place."""
    found = space.structure_at(in_frame(CENTRES, frame))
    np.testing.assert_array_equal(found, LABELS.ravel())
    middle = named(CENTRES[subtree(1).ravel()].mean(axis=0)[None], frame)
    assert space.centroid(1) == {name: approx(v[0]) for name, v in middle.items()}


def approx(number: float):
    """Equal to the rounding of headers in single precision."""
    return pytest.approx(float(number), rel=1e-5, abs=1e-3)


def ask_all(space, frame: str) -> None:
    """Ask everything of a space whose coordinates are in a frame."""
    ask_where(space, frame)
    ask_how_many(space, frame)
    ask_shape(space, frame)
