"""The Allen CCF of 2020, as the Allen Brain Cell Atlas publishes it: parcels, and tables of them.

Voxels hold the index of a parcel, not a structure id. Tables map each parcel to its structure in
the Allen ontology; a store of this source holds structure ids.
"""

import csv
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from refspace.errors import FormatError, GridError, SourceError
from refspace.formats.nifti import NIFTI
from refspace.formats.source_file import naming
from refspace.formats.spacing import settle_spacing
from refspace.formats.voxel_files import VoxelStream
from refspace.grid import Grid, parse_spacing
from refspace.limits import check_limit
from refspace.remote.download import read_record
from refspace.sources.ccf import (
    ABC_NAME,
    ABC_RELEASE,
    ABC_RESOLUTION,
    CITATION,
    LICENCE,
    ORIENTATION,
)
from refspace.sources.source import AtlasParts, Request, base_url
from refspace.structure_tree import StructureTree
from refspace.structure_tree.records import listing, structure_id
from refspace.types import BACKGROUND

BASE = "https://allen-brain-cell-atlas.s3.us-west-2.amazonaws.com"
BASE_VARIABLE = "REFSPACE_ABC"
_OPTIONS = ("template", "release", "base")
_IMAGES, _TABLES = "image_volumes/Allen-CCF-2020", "metadata/Allen-CCF-2020"
_TERMS = "parcellation_term.csv"
_MEMBERSHIP = "parcellation_to_parcellation_term_membership.csv"
# Labels of terms begin with their ontology. Only these are structures: terms of the ontology of
# 2023 stand in for levels that a structure does not have.
_ONTOLOGY, _ANNOTATION = "AllenCCF-Ontology-2017-", "AllenCCF-Annotation-2020-"
_IDENTIFIER = "MBA:"
# Relative error of lengths in single precision.
_NOISE = 1e-5


def abc(request: Request) -> AtlasParts:
    """Source ``abc``: the mouse CCF of 2020, with structure ids of the Allen ontology.

    Parameters
    ----------
    request
        Name ``ccf_2020``; resolution 10 µm, the only one. Options: ``template=True`` for the
        average template too; ``release`` (``"20230630"``); ``base``, URL of the bucket (also named
        by the environment variable ``REFSPACE_ABC``).

    Raises
    ------
    SourceError
        If there is no such atlas or option.
    GridError
        If there is no such resolution.
    FormatError
        If a table is not what it should be.
    RemoteError
        If the host cannot be reached, or does not send what it should.
    """
    request.check_options(_OPTIONS)
    release = _checked_release(request)
    # The small files first: faults of the network show within seconds.
    terms = _download(request, f"{_TABLES}/{release}/{_TERMS}")
    membership = _download(request, f"{_TABLES}/{release}/{_MEMBERSHIP}")
    tree = build_tree(terms, membership)
    ids = ids_by_index(membership, tree)
    annotation = _download(request, f"{_IMAGES}/{release}/annotation_{ABC_RESOLUTION}.nii.gz")
    template = None
    if request.options.get("template"):
        template = _download(
            request, f"{_IMAGES}/{release}/average_template_{ABC_RESOLUTION}.nii.gz"
        )
    record = read_record(annotation)
    return AtlasParts(
        _stream_at_origin(annotation),
        tree,
        template=None if template is None else _stream_at_origin(template, is_image=True),
        ids=ids,
        provenance={
            "source": _url(request, f"{_IMAGES}/{release}/{annotation.name}"),
            "version": release,
            "sha256": None if record is None else record.sha256,
            "structures": _url(request, f"{_TABLES}/{release}/{_TERMS}"),
            "voxels_in_structures": _count_voxels(membership),
            "citation": CITATION,
            "licence": LICENCE,
        },
    )


def _checked_release(request: Request) -> str:
    """Release of the request; refuse names, resolutions and templates that do not exist."""
    if request.name != ABC_NAME:
        raise SourceError(f"abc has no {request.name!r}; it has {ABC_NAME}")
    if request.resolution not in (None, ABC_RESOLUTION, (ABC_RESOLUTION,) * 3):
        raise GridError(
            f"resolution is {request.resolution}; {ABC_NAME} is published at {ABC_RESOLUTION} µm, "
            "and downsample makes others of it"
        )
    kind = request.options.get("template", True)
    if kind not in (True, False, "average_template"):
        raise SourceError(f"abc has no template {kind!r}; it has average_template")
    release = str(request.options.get("release", ABC_RELEASE))
    if not re.fullmatch(r"\d{8}", release):
        raise SourceError(f"release is {release!r}; it is a date like {ABC_RELEASE!r}")
    return release


def _url(request: Request, path: str) -> str:
    return f"{base_url(request.options.get('base'), BASE_VARIABLE, BASE)}/{path}"


def _download(request: Request, path: str) -> Path:
    return request.cache.file(
        _url(request, path),
        progress=request.progress,
        remedies=[f"name another host by base= or {BASE_VARIABLE}"],
    )


def _stream_at_origin(path: Path, *, is_image: bool = False) -> VoxelStream:
    """Stream of the voxels of a file, with the corner of the volume at 0.

    All volumes of the CCF have their corner there. The headers of these files state another world,
    whose origin is within the brain.
    """
    header = NIFTI.read_header(path, is_image=is_image)
    with naming(header.path):
        settle_spacing(header.stated, ABC_RESOLUTION, rtol=_NOISE)
    grid = Grid(header.shape, parse_spacing(ABC_RESOLUTION), orientation=ORIENTATION)
    return header.image.stream(grid)


# ----- tables


def build_tree(terms: Path, membership: Path) -> StructureTree:
    """Build the structures of the ontology, with the colours of their parcels.

    Parameters
    ----------
    terms, membership
        Paths of the tables.
    """
    columns = ("parcellation_term_label", "color_hex_triplet")
    colours = {label: colour for label, colour in _cells(membership, columns) if colour}
    records: list[dict[str, Any]] = []
    for label, identifier, parent, acronym, name in _cells(
        terms, ("label", "identifier", "parent_identifier", "acronym", "name")
    ):
        if label.startswith(_ONTOLOGY):
            records.append(
                {
                    "id": _parse_id(identifier, _IDENTIFIER, terms),
                    "parent_structure_id": _parse_id(parent, _IDENTIFIER, terms)
                    if parent
                    else None,
                    "acronym": acronym,
                    "name": name,
                    "graph_order": len(records),
                    **({"color_hex_triplet": colours[label]} if label in colours else {}),
                }
            )
    if not records:
        raise FormatError(f"{terms} names no term of {_ONTOLOGY.rstrip('-')}; get it again")
    return StructureTree(StructureTree.clean_structures(records))


def ids_by_index(membership: Path, tree: StructureTree) -> dict[int, int]:
    """Structure id of each parcel index, the value of voxels.

    Parameters
    ----------
    membership
        Path of the table.
    tree
        The structures.

    Raises
    ------
    FormatError
        If an index has two structures, or one that the tree lacks.
    """
    ids = {BACKGROUND: BACKGROUND}
    for label, text in _cells(membership, ("parcellation_label", "parcellation_index")):
        index = _parse_id(text, "", membership)
        structure = _parse_id(label, _ANNOTATION, membership)
        if ids.setdefault(index, structure) != structure:
            raise FormatError(
                f"{membership}: parcellation_index {index} is {ids[index]} and {structure}; an "
                "index "
                "has one structure"
            )
    known = {BACKGROUND, *tree.node_ids()}
    lacking = [f"{i} (index {index})" for index, i in ids.items() if i not in known]
    if lacking:
        raise FormatError(
            f"{membership} has structures that {_TERMS} lacks: {listing(lacking)}; get both of one "
            "release"
        )
    return ids


def _count_voxels(membership: Path) -> int | None:
    """Number of voxels in structures, as the table states it; None if it does not."""
    try:
        # A parcel has a row for each of several terms: it is counted once.
        counts = {
            int(index): int(count)
            for index, count in _cells(membership, ("parcellation_index", "voxel_count"))
        }
        return sum(count for index, count in counts.items() if index != BACKGROUND)
    except (FormatError, ValueError):
        return None


def _cells(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Cells of some columns of a table, row by row."""
    size = path.stat().st_size
    check_limit("ontology_bytes", size, f"{path} has {size} bytes")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            lacking = [column for column in columns if column not in (reader.fieldnames or ())]
            if lacking:
                raise FormatError(f"{path} has no column {', '.join(lacking)}; get it again")
            for row in reader:
                yield tuple(_cell(row, column, path) for column in columns)
    except (csv.Error, UnicodeDecodeError) as error:
        raise FormatError(f"{path} is no table ({error}); get it again") from error


def _cell(row: Mapping[str, Any], column: str, path: Path) -> str:
    value = row[column]
    if value is None:
        raise FormatError(f"{path} has a row that is cut short; get it again")
    return str(value).strip()


def _parse_id(text: str, prefix: str, path: Path) -> int:
    """Structure id or index behind the prefix of a label."""
    digits = text.removeprefix(prefix)
    if not text.startswith(prefix) or not re.fullmatch("[0-9]{1,10}", digits):
        raise FormatError(f"{path} has {text!r}; it must be {prefix}<number>: get it again")
    return structure_id(digits)
