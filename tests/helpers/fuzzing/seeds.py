"""Good cases of every format, small; and how sources and jobs read theirs."""

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

import nibabel as nib
import numpy as np
import pandas as pd

import refspace
from helpers import abc_replay, allen_replay, brainglobe_replay, foreign_stores
from helpers.damaged import stop_after
from helpers.fuzzing.cases import Case, read_case
from helpers.serving import Server
from refspace import ReferenceSpace, StructureTree
from refspace.grid import Grid
from refspace.labels import labelled
from refspace.store.digests import metadata_digest

# With what sources of atlases state of each structure.
TREE = StructureTree(
    {"rgb_triplet": [n, 2, 3], "graph_order": n, "structure_set_ids": [7], **node}
    for n, node in enumerate(foreign_stores.TREE.nodes())
)
GRID = Grid(foreign_stores.SHAPE, (25, 25, 25))
VOXELS = foreign_stores.VOXELS


def folder_of(write: Callable[[Path], Any]) -> Case:
    """What is written into a folder."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        return read_case(Path(folder))


def _space(**how: Any) -> ReferenceSpace:
    return ReferenceSpace(TREE, labelled(VOXELS, GRID), **how)


# ----- volumes


def nrrd() -> Sequence[Case]:
    """NRRD files of ours and of others: gzip and raw, in one file and two, ASCII."""
    own = folder_of(lambda folder: refspace.write_nrrd(folder / "x.nrrd", labelled(VOXELS, GRID)))
    archive = {"x.nrrd": allen_replay.nrrd(VOXELS, 0.025)}
    head = b"NRRD0005\n# made\ntype: uint32\ndimension: 3\nsizes: 8 6 4\nendian: little\n"
    space = b"space: RAS\nspace origin: (0,0,0)\n"
    space += b"space directions: (0.025,0,0) (0,0.025,0) (0,0,0.025)\n"
    units = b'space units: "mm" "mm" "mm"\nrefspace_midline_um:=100\n'
    raw = VOXELS.tobytes("F")
    text = " ".join(map(str, VOXELS.ravel("F"))).encode()
    series = b"NRRD0004\ntype: float\ndimension: 4\nsizes: 2 8 6 4\n"
    series += b"kinds: vector domain domain domain\n"
    return [
        own,
        archive,
        {"x.nrrd": head + space + units + b"encoding: raw\n\n" + raw},
        {"x.nhdr": head + b"encoding: raw\ndata file: x.raw\nbyte skip: 0\n", "x.raw": raw},
        {"x.nrrd": head + b"spacings: 25 25 25\nencoding: ascii\n\n" + text},
        {"x.nrrd": series + b"endian: big\nencoding: raw\n\n" + bytes(4 * 2 * VOXELS.size)},
    ]


def nifti() -> Sequence[Case]:
    """NIfTI files of ours and of others."""
    array = labelled(VOXELS, GRID)
    cases = []
    for name in ("x.nii.gz", "x.nii"):
        cases.append(
            folder_of(lambda folder, name=name: refspace.write_nifti(folder / name, array))
        )
    pair = folder_of(lambda folder: nib.save(nib.Nifti1Pair(VOXELS, np.eye(4)), folder / "x.hdr"))
    return [*cases, {"x.nii.gz": abc_replay.nifti(VOXELS)}, pair]


def mgh() -> Sequence[Case]:
    """MGH and MGZ files of nibabel's."""
    voxels = VOXELS.astype("i4")
    return [
        folder_of(
            lambda folder, name=name: nib.save(nib.MGHImage(voxels, np.eye(4)), folder / name)
        )
        for name in ("x.mgh", "x.mgz")
    ]


def metaimage() -> Sequence[Case]:
    """MetaImage files of ours and of others: in one file and two, raw, of channels and times."""
    array = labelled(VOXELS, GRID)
    head = b"ObjectType = Image\nNDims = %d\nBinaryDataByteOrderMSB = True\n"
    geometry = b"TransformMatrix = 0 1 0 0 0 -1 1 0 0\nOffset = 0 1 2\nElementSpacing = 1 1 1\n"
    size = b"DimSize = 8 6 4\nElementType = MET_UINT\nHeaderSize = -1\n"
    channels = b"DimSize = 8 6 4 2\nElementNumberOfChannels = 3\nElementType = MET_FLOAT\n"
    local, raw = b"ElementDataFile = LOCAL\n", b"ElementDataFile = x.raw\n"
    beside = head % 3 + geometry + size + raw
    return [
        *(
            folder_of(lambda folder, name=name: refspace.write_metaimage(folder / name, array))
            for name in ("x.mha", "x.mhd")
        ),
        {"x.mhd": beside, "x.raw": VOXELS.astype(">u4").tobytes("F")},
        {"x.mha": head % 4 + channels + local + bytes(4 * 6 * VOXELS.size)},
    ]


def npy() -> Sequence[Case]:
    """Arrays of NumPy in C and in Fortran order, and one of more axes."""
    arrays = (VOXELS, np.asfortranarray(VOXELS), VOXELS.reshape(2, 4, 6, 4).astype(">f4"))
    return [folder_of(lambda folder, a=a: np.save(folder / "x.npy", a)) for a in arrays]


def tiff() -> Sequence[Case]:
    """TIFF files of ours, of ImageJ's kind and of OME's, in strips and tiles."""
    import tifffile

    array = labelled(VOXELS.astype("u2"), GRID)
    lengths = {f"PhysicalSize{axis}": 25.0 for axis in "XYZ"}
    imagej = {"axes": "ZYX", "unit": "um", "spacing": 25.0}
    grey = {"photometric": "minisblack"}
    ways: list[dict[str, Any]] = [
        {"ome": True, "metadata": {"axes": "ZYX", **lengths}, "compression": "zlib"},
        {"imagej": True, "metadata": imagej, "resolution": (0.04, 0.04)},
        {"tile": (16, 16), "bigtiff": True, "byteorder": ">"},
        {"compression": "lzma", "rowsperstrip": 2},
    ]
    made = [
        folder_of(
            lambda folder, way=way: tifffile.imwrite(folder / "x.tif", array.values, **way, **grey)
        )
        for way in ways
    ]
    return [folder_of(lambda folder: refspace.write_tiff(folder / "x.tif", array)), *made]


# ----- tables and documents


def structures() -> Sequence[Case]:
    """Ontologies and tables of labels in every form."""
    nodes = refspace.phantom(resolution=1000).structure_tree.nodes()[:6]
    root = nodes[0]["id"]
    paths = [[root] if node["id"] == root else [root, node["id"]] for node in nodes]
    flat = [n | {"structure_id_path": path} for n, path in zip(nodes, paths, strict=True)]
    tree = refspace.StructureTree(flat)
    records = allen_replay.records(tree)
    nested = {"success": True, "msg": [records[0] | {"children": records[1:]}]}
    freesurfer = "0 Unknown 0 0 0 0\n8 Grey 10 20 30 0\n997 Root 1 2 3 0\n"
    snap = '  0  0  0  0  0  0  0  "Clear Label"\n  8  255  0  9  1  1  0  "Grey"\n'
    csv = pd.DataFrame(records).drop(columns="structure_sets").to_csv(index=False)
    labels = "id,name,acronym,red,green,blue,parent\n8,grey,g,1,2,3,997\n997,root,r,3,4,5,\n"
    terms = abc_replay.table(abc_replay.terms(tree))
    return [
        folder_of(lambda folder: refspace.write_structures(folder / "x.json", tree)),
        {"x.json": allen_replay.answer(records)},
        {"x.json": json.dumps(nested).encode()},
        {"x.csv": csv.encode()},
        {"x.csv": labels.encode()},
        {"x.tsv": labels.replace(",", "\t").encode()},
        {"x.txt": freesurfer.encode()},
        {"x.txt": snap.encode()},
        {"x.csv": terms},
        {"x.csv": b"# ours\nidx;name;r;g;b\n8;Grey;1;2;3\n9;Root;4;5;6\n"},
        {"x.txt": b"0 ??? Unknown 0 0 0 0\n8 GR Grey_matter 1 2 3 255\n9 W White 4 5 6 255\n"},
        {"x.xml": _fsl_atlas()},
        {"x.xml": _structure_graph(records)},
        {"x.csv": pd.DataFrame(tree.nodes()).to_csv().encode()},
        {"x.parquet": pd.DataFrame(tree.nodes()).to_parquet()},
    ]


def _fsl_atlas() -> bytes:
    labels = "".join(f'<label index="{n}" x="1" y="2" z="3">Area {n}</label>' for n in range(4))
    header = "<header><name>A</name><type>Probabilistic</type></header>"
    return f"<?xml version='1.0'?><atlas>{header}<data>{labels}</data></atlas>".encode()


def _structure_graph(records: Sequence[dict[str, Any]]) -> bytes:
    first, *others = (
        f"<structure><id>{r['id']}</id><acronym>&quot;{r['acronym']}&quot;</acronym>"
        f"<name>{r['id']}</name><color-hex-triplet>{r['color_hex_triplet']}</color-hex-triplet>"
        "<children>{}</children></structure>"
        for r in records
    )
    inner = "".join(other.format("") for other in others)
    return f"<Response success='true'>{first.format(inner)}</Response>".encode()


def mesh() -> Sequence[Case]:
    """A mesh in every format, and one of Neuroglancer."""
    from refspace.formats.meshes import Mesh, encode_mesh, neuroglancer_files

    corners = np.array([[0.0, 0, 0], [5, 0, 0], [0, 5, 0], [0, 0, 5]])
    faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    shape = Mesh(corners, corners / 5, faces, faces)
    text = b"ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\n"
    text += b"property float z\nelement face 1\nproperty list uchar int vertex_indices\n"
    text += b"end_header\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n"
    facet = b"solid a\nfacet normal 0 0 1\nouter loop\nvertex 0 0 0\nvertex 1 0 0\nvertex 0 1 0\n"
    return [
        {"x.obj": allen_replay.MESH.encode()},
        {"x.ply": text},
        {"x.stl": facet + b"endloop\nendfacet\nendsolid a\n"},
        *(
            {f"x{ending}": encode_mesh({"a": shape}, ending, {"a": (1, 2, 3)})}
            for ending in (".ply", ".stl", ".glb")
        ),
        neuroglancer_files(7, shape),
    ]


def points() -> Sequence[Case]:
    """Tables of points."""
    table = pd.DataFrame(np.random.default_rng(0).random((5, 3)) * 90, columns=["ap", "dv", "ml"])
    table["name"] = ["a", "b,c", 'd"e', "=1+1", ""]
    parquet = folder_of(lambda folder: table.to_parquet(folder / "x.parquet"))
    tsv = table.to_csv(sep="\t", index=False).encode()
    return [{"x.csv": table.to_csv(index=False).encode()}, {"x.tsv": tsv}, parquet]


# ----- stores


def foreign() -> Sequence[Case]:
    """Label images of other programs."""
    cases = [
        folder_of(lambda folder, version=version: foreign_stores.write(folder / "x.zarr", version))
        for version in foreign_stores.VERSIONS
    ]
    return [*cases, folder_of(lambda folder: foreign_stores.nested(folder / "x.zarr"))]


INDEX = "x.zarr.label_index"


def label_index() -> Sequence[Case]:
    """Indices of label images of other programs, which are beside them."""

    def write(folder: Path, version: str) -> None:
        foreign_stores.write(folder / "x.zarr", version, omit=[(0, 4, 0)])
        refspace.write_index(folder / "x.zarr", orientation="PIR", threads=1)

    return [
        folder_of(lambda folder, version=version: write(folder, version))
        for version in foreign_stores.VERSIONS
    ]


def resealed(case: Case, chance: Random) -> Case:
    """The case with an index that proves itself again, mostly."""
    data = case.get(INDEX, b"")
    if len(data) < 40 or chance.random() < 0.1:
        return case
    return {**case, INDEX: data[:8] + hashlib.sha256(data[40:]).digest() + data[40:]}


def atlas() -> Sequence[Case]:
    """Atlases of ours."""
    sides = labelled(np.broadcast_to(np.array([1, 1, 2, 2], "u1"), GRID.shape), GRID)
    spaces = [(_space(), {}), (_space(hemispheres=sides), {"shards": 4})]
    return [
        folder_of(lambda folder, s=space, h=how: s.to_zarr(folder / "x.zarr", chunks=2, **h))
        for space, how in spaces
    ]


def masks() -> Sequence[Case]:
    """Masks of ours."""
    return [folder_of(lambda folder: refspace.write_masks(_space(), folder / "x.zarr", threads=1))]


def signed(case: Case, chance: Random) -> Case:
    """The case with a root that is sealed again, as someone would who knows how, mostly."""
    root = "x.zarr/zarr.json"
    if root not in case or chance.random() < 0.2:
        return case
    with suppress(Exception):
        document = json.loads(case[root])
        document["attributes"]["refspace"]["metadata_sha256"] = metadata_digest(document)
        return {**case, root: json.dumps(document).encode()}
    return case


def images() -> Sequence[Case]:
    """Images in zarr, of xarray and as OME-Zarr."""
    image = labelled(VOXELS.astype("f4"), GRID, "image")
    scaled = image.assign_attrs(scale_factor=0.5, units="um")
    cases = [
        folder_of(
            lambda folder, version=version: scaled.to_dataset(name="image").to_zarr(
                folder / "x.zarr", zarr_format=version, consolidated=version == 2
            )
        )
        for version in (2, 3)
    ]
    ome = folder_of(lambda folder: foreign_stores.write(folder / "x.zarr", label=False))
    return [*cases, ome]


# ----- jobs

JOB_TABLE, JOB_TEXT = "t.parquet", "t.csv"


def convert(folder: Path, **how: Any) -> None:
    """Convert an array, or go on with it: a file is another one in another folder."""
    refspace.convert(
        labelled(VOXELS, GRID), TREE, folder / "store.zarr", chunks=2, threads=1, **how
    ).annotation.compute()


def conversion() -> Sequence[Case]:
    """A conversion that was stopped."""

    def write(folder: Path) -> None:
        with suppress(KeyboardInterrupt):
            convert(folder, progress=stop_after(3))

    return [folder_of(write)]


def aggregate(folder: Path, name: str, **how: Any) -> None:
    """Aggregate images into a table, or go on with it; by names that hold in any folder."""
    with chdir(folder):
        refspace.aggregate_images(
            "atlas.zarr", ["a.nrrd", "b.nrrd"], name, threads=1, overwrite=False, **how
        )


def _aggregation(name: str) -> Sequence[Case]:
    def write(folder: Path, **how: Any) -> None:
        _space().to_zarr(folder / "atlas.zarr", chunks=4)
        for image in ("a.nrrd", "b.nrrd"):
            refspace.write_nrrd(folder / image, labelled(VOXELS.astype("f4"), GRID))
        with suppress(KeyboardInterrupt):
            aggregate(folder, name, **how)

    return [
        folder_of(write),
        folder_of(lambda folder: write(folder, progress=stop_after(1))),
    ]


def aggregation() -> Sequence[Case]:
    """Tables in Parquet, whole and stopped."""
    return _aggregation(JOB_TABLE)


def text_aggregation() -> Sequence[Case]:
    """Tables of text, whole and stopped."""
    return _aggregation(JOB_TEXT)


# ----- sources


_ANNOTATIONS = f"{allen_replay.ARCHIVE}/annotation"
_ALLEN = sorted(
    [
        allen_replay.QUERY.format(1),
        f"{_ANNOTATIONS}/ccf_2016/annotation_100.nrrd",
        f"{_ANNOTATIONS}/ccf_2017/annotation_100.nrrd",
    ]
)
_ABC = sorted(
    [
        abc_replay.TERMS,
        abc_replay.MEMBERSHIP,
        *[f"{abc_replay.IMAGES}/{name}_10.nii.gz" for name in ("annotation", "average_template")],
    ]
)


def allen() -> Sequence[Case]:
    """What the Allen Institute answers, each answer under the number of its path."""
    space = ReferenceSpace(TREE, VOXELS, 100)
    whole = space.annotation == 8
    with mock.patch.object(ReferenceSpace, "make_structure_mask", return_value=whole):
        files = allen_replay.replay(space)
    return [{_name(n, path): files[path] for n, path in enumerate(_ALLEN)}]


def _name(number: int, path: str) -> str:
    endings = (".nrrd", ".obj", ".nii.gz", ".csv")
    return f"{number}{next((end for end in endings if path.endswith(end)), '.json')}"


@contextmanager
def _served(files: Mapping[str, bytes], **variables: str) -> Iterator[str]:
    with Server(files) as server, tempfile.TemporaryDirectory() as cache:
        own = {"REFSPACE_CACHE": cache} | {k: v.format(server.url) for k, v in variables.items()}
        with mock.patch.dict("os.environ", own):
            yield server.url


def _by_path(folder: Path, paths: Sequence[str]) -> dict[str, bytes]:
    case = read_case(folder)
    named = {path: _name(n, path) for n, path in enumerate(paths)}
    return {path: case[name] for path, name in named.items() if name in case}


def read_allen(folder: Path) -> Any:
    """Fetch an atlas of the Allen Institute's that is served from a case."""
    archive = "{}" + allen_replay.ARCHIVE
    variables = {"REFSPACE_ALLEN_HOST": "{}", "REFSPACE_ALLEN_ARCHIVE": archive}
    with _served(_by_path(folder, _ALLEN), **variables):
        refspace.fetch("allen:ccf_2017", resolution=100).voxel_counts().compute()


def brainglobe() -> Sequence[Case]:
    """A bucket of BrainGlobe's."""
    small = ReferenceSpace(TREE, VOXELS, 200)
    with mock.patch.object(brainglobe_replay, "sample", return_value=small):
        return [folder_of(brainglobe_replay.write_bucket)]


def read_brainglobe(folder: Path) -> Any:
    """Open an atlas of BrainGlobe's that is in a case."""
    with tempfile.TemporaryDirectory() as cache:
        own = {"REFSPACE_CACHE": cache, "REFSPACE_BRAINGLOBE": str(folder)}
        with mock.patch.dict("os.environ", own):
            space = refspace.open(f"brainglobe:{brainglobe_replay.NAME}")
            space.voxel_counts().compute()


def abc() -> Sequence[Case]:
    """The ABC atlas."""
    files = abc_replay.abc_files(ReferenceSpace(TREE, VOXELS, 10))
    return [{_name(n, path): files[path] for n, path in enumerate(_ABC)}]


def read_abc(folder: Path) -> Any:
    """Fetch the ABC atlas that is served from a case."""
    with _served(_by_path(folder, _ABC), REFSPACE_ABC="{}"):
        refspace.fetch(abc_replay.SPEC).voxel_counts().compute()
