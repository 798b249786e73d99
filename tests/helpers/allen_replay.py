"""The Allen Institute's API and archive, small: files by path, as a test server sends them."""

import gzip
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

import refspace

QUERY = (
    "/api/v2/data/query.json?q=model::Structure,rma::criteria,[graph_id$in{}],rma::include,"
    "structure_sets,rma::options[num_rows$eq'all'][order$eqstructures.graph_order][count$eqfalse]"
)
ARCHIVE = "/informatics-archive/current-release/mouse_ccf"
MESH = """# a tetrahedron
v 0 0 0
v 100 0 0
v 0 100 0
v 0 0 100

vn 0 0 -1
vn 0 -1 0
vn -1 0 0
vn 0.577 0.577 0.577

f 1//1 2//2 3//3
f 1//1 2//2 4//4
"""


def sample() -> refspace.ReferenceSpace:
    """Atlas that the replay is of: the phantom, its voxels said to be of 100 µm."""
    coarse = refspace.phantom(200)
    return refspace.ReferenceSpace(coarse.structure_tree, coarse.annotation.values, 100)


def nrrd(voxels: NDArray[Any], spacing: float, *, level: int = 9) -> bytes:
    """File with a header like those of the archive, which contradicts its voxels."""
    if voxels.dtype == bool:
        voxels = voxels.astype(np.uint8)
    kind = {"uint32": "unsigned int", "uint16": "unsigned short", "uint8": "unsigned char"}
    header = f"""NRRD0004
# Complete NRRD file format specification at:
# http://teem.sourceforge.net/nrrd/format.html
type: {kind[voxels.dtype.name]}
dimension: 3
space: left-posterior-superior
sizes: {" ".join(map(str, voxels.shape))}
space directions: ({spacing},0,0) (0,{spacing},0) (0,0,{spacing})
kinds: domain domain domain
endian: little
encoding: gzip
space origin: (0,0,0)

"""
    return header.encode() + gzip.compress(voxels.tobytes("F"), level, mtime=0)


def answer(records: list[dict[str, Any]], **fields: Any) -> bytes:
    """Answer of the API, with some fields changed."""
    envelope = {
        "success": True,
        "id": 0,
        "start_row": 0,
        "num_rows": len(records),
        "total_rows": len(records),
        "msg": records,
    }
    return json.dumps(envelope | fields).encode()


def records(tree: refspace.StructureTree) -> list[dict[str, Any]]:
    """Structures as the API sends them."""
    return [_record(node) for node in tree.nodes()]


def _record(node: Mapping[str, Any]) -> dict[str, Any]:
    path = node["structure_id_path"]
    return {
        "id": node["id"],
        "acronym": node["acronym"],
        "name": node["name"],
        "safe_name": node["name"],
        "atlas_id": None,
        "ontology_id": 1,
        "graph_id": 1,
        "graph_order": node["graph_order"],
        "depth": len(path) - 1,
        "st_level": len(path) - 1,
        "hemisphere_id": 3,
        "parent_structure_id": path[-2] if len(path) > 1 else None,
        "structure_id_path": f"/{'/'.join(map(str, path))}/",
        "color_hex_triplet": "{:02X}{:02X}{:02X}".format(*node["rgb_triplet"]),
        "failed": False,
        "structure_sets": [
            {"id": number, "name": "a set", "description": "of structures"}
            for number in node["structure_set_ids"]
        ],
    }


def structure_sets(tree: refspace.StructureTree) -> dict[str, bytes]:
    """Answer to the query for all structure sets of a tree, by path."""
    ids = sorted(tree.get_structure_sets())
    criteria = f"[id$in{','.join(map(str, ids))}]"
    return {
        f"/api/v2/data/query.json?q=model::StructureSet,rma::criteria,{criteria},"
        "rma::options[num_rows$eq'all'][count$eqfalse]": answer(
            [{"id": number, "name": f"set {number}", "description": "a set"} for number in ids]
        )
    }


def replay(space: refspace.ReferenceSpace) -> dict[str, bytes]:
    """Files of the API and of the archive, by path."""
    voxels = space.annotation.values
    template = (voxels % 500).astype("u2")
    ccf = f"{ARCHIVE}/annotation/ccf_2017"
    mask = space.make_structure_mask("VISp").values
    return {
        QUERY.format(1): answer(records(space.structure_tree)),
        f"{ccf}/annotation_100.nrrd": nrrd(voxels, 100),
        f"{ARCHIVE}/annotation/ccf_2016/annotation_100.nrrd": nrrd(np.flip(voxels, 1), 100),
        f"{ARCHIVE}/average_template/average_template_100.nrrd": nrrd(template, 100),
        f"{ARCHIVE}/ara_nissl/ara_nissl_100.nrrd": nrrd(template + np.uint16(1), 100),
        f"{ccf}/structure_masks/structure_masks_100/structure_385.nrrd": nrrd(mask, 100),
        f"{ccf}/structure_meshes/385.obj": MESH.encode(),
    }
