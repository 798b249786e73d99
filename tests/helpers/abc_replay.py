"""Files of the ABC atlas, made of any reference space."""

import csv
import gzip
import io

import nibabel as nib
import numpy as np

SPEC = "abc:ccf_2020"
IMAGES = "image_volumes/Allen-CCF-2020/20230630"
TABLES = "metadata/Allen-CCF-2020/20230630"
TERMS, MEMBERSHIP = (
    f"{TABLES}/parcellation_{name}.csv" for name in ("term", "to_parcellation_term_membership")
)
ONTOLOGY, FILLERS = "AllenCCF-Ontology-2017-", "ABC-Ontology-2023-"


def table(rows):
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def terms(tree):
    rows = []
    for node in tree.nodes():
        above = node["structure_id_path"][:-1]
        rows.append(
            {
                "label": f"{ONTOLOGY}{node['id']}",
                "name": node["name"],
                "acronym": node["acronym"],
                "identifier": f"MBA:{node['id']}",
                "parent_identifier": f"MBA:{above[-1]}" if above else "",
                "parent_term_label": f"{ONTOLOGY}{above[-1]}" if above else "",
            }
        )
    filler = {"label": f"{FILLERS}1", "name": "unassigned", "acronym": "unassigned"}
    return [*rows, dict.fromkeys(rows[0], "") | filler]


def membership(tree, labels, counts):
    """A row for each parcel and each of two term sets; the lowest is the structure itself."""
    rows = []
    for index, label in enumerate(labels):
        nodes = tree.nodes([label])
        path = nodes[0]["structure_id_path"] if label else [0]
        for name, term in (("organ", path[0]), ("substructure", label)):
            colour = tree.nodes([term])[0]["rgb_triplet"] if label else [0, 0, 0]
            rows.append(
                {
                    "parcellation_label": f"AllenCCF-Annotation-2020-{label}",
                    "parcellation_term_label": f"{ONTOLOGY if label else FILLERS}{term}",
                    "parcellation_term_set_label": f"AllenCCF-Ontology-2017-{name.upper()}",
                    "parcellation_index": index,
                    "voxel_count": counts[label],
                    "volume_mm3": counts[label] * 1e-6,
                    "color_hex_triplet": "#{:02X}{:02X}{:02X}".format(*colour),
                    "parcellation_term_set_name": name,
                }
            )
    return rows


def abc_files(sample):
    voxels = sample.annotation.values
    labels, counts = np.unique(voxels, return_counts=True)
    tree, by_label = sample.structure_tree, dict(zip(labels.tolist(), counts.tolist(), strict=True))
    indices = np.searchsorted(labels, voxels).astype("u4")
    template = (voxels % 251).astype("f4")
    return {
        TERMS: table(terms(tree)),
        MEMBERSHIP: table(membership(tree, labels.tolist(), by_label)),
        f"{IMAGES}/annotation_10.nii.gz": nifti(indices),
        f"{IMAGES}/average_template_10.nii.gz": nifti(template),
    }


def nifti(voxels, turn=-1):
    """File whose header has a world of its own, and other directions than the voxels have."""
    affine = np.array(
        [[0, 0, 0.01, -5.695], [-0.01, 0, 0, 5.35], [0, -0.01, 0, 5.22], [0, 0, 0, 1]]
    )
    affine[:2] *= turn
    made = nib.Nifti1Image(voxels, affine)
    made.header.set_xyzt_units("mm")
    return gzip.compress(made.to_bytes())
