"""Regions that are known by a name: sets of the Allen Institute, parcellations of others, leaves.

Sets are lists that the records of structures name by number. Parcellations are lists of structures
that others published, of the ontology of the Allen mouse brain; they lie beside this module, as
tables of ids and acronyms.
"""

import csv
import functools
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

from refspace.errors import OntologyError
from refspace.structure_tree import records as rec
from refspace.structure_tree.simple_tree import SimpleTree

# Names of the sets of graph 1, as the Allen Institute's API serves them for model::StructureSet.
ALLEN_SETS: Mapping[int, str] = {
    2: "Mouse - Coarse",
    3: "Mouse - Areas",
    10: "ABA - Fine Structure Search",
    12: "ABA - Differential Search",
    112905813: "Mouse Connectivity - BDA/AAV All Injection Structures",
    112905828: "Mouse Connectivity - Projection All Injection Structures",
    114512891: "Mouse Connectivity - Projection Primary Injection Structures",
    114512892: "Mouse Connectivity - BDA/AAV Primary Injection Structures",
    167587189: "Brain - Summary Structures",
    184527634: "Mouse Connectivity - Target Search",
    396673091: "Mouse Cell Types - Structures",
    514166994: "Allen Brain Observatory targeted structure set",
    667481440: "Isocortex layer 1",
    667481441: "Isocortex layer 2/3",
    667481445: "Isocortex layer 4",
    667481446: "Isocortex layer 5",
    667481449: "Isocortex layer 6a",
    667481450: "Isocortex layer 6b",
    687527670: "Brain - Major Divisions",
    687527945: "Mouse Connectivity - Summary",
    688152357: "Isocortex",
    688152358: "Olfactory Areas",
    688152359: "Hippocampal Formation",
    688152360: "Cortical Subplate",
    688152361: "Striatum",
    688152362: "Pallidum",
    688152363: "Thalamus",
    688152364: "Hypothalamus",
    688152365: "Midbrain",
    688152366: "Pons",
    688152367: "Medulla",
    688152368: "Cerebellum",
    691663206: "Mouse Brain - Has Surface Mesh",
}
_ALLEN = "Allen Institute for Brain Science, api.brain-map.org"
_IBL = (
    "International Brain Laboratory, github.com/int-brain-lab/iblatlas, (c) 2023 International "
    "Brain Laboratory, MIT license"
)


@dataclass(frozen=True)
class NamedRegions:
    """Regions that a tree is asked for by name.

    Parameters
    ----------
    description
        What they are.
    source
        Who published them.
    structure_set
        Id of the set that they are.
    table
        Name of the table of their structures, where they are no set.
    """

    description: str
    source: str
    structure_set: int | None = None
    table: str | None = None


LEAVES = "leaves"
NAMED: Mapping[str, NamedRegions] = {
    LEAVES: NamedRegions("structures without children", "the tree itself"),
    "summary": NamedRegions("summary structures, which do not overlap", _ALLEN, 167587189),
    "divisions": NamedRegions("major divisions of the brain", _ALLEN, 687527670),
    "observatory": NamedRegions("visual areas of the Brain Observatory", _ALLEN, 514166994),
    "beryl": NamedRegions("areas and nuclei without layers", _IBL, table="beryl.csv"),
    "cosmos": NamedRegions("ten divisions of the brain", _IBL, table="cosmos.csv"),
}
"""Regions by name, in small letters."""


def name_of_regions(structures: object) -> str | None:
    """Name of regions that a text is, capitals aside; None of anything else.

    Examples
    --------
    >>> name_of_regions("Beryl"), name_of_regions("VISp"), name_of_regions(["leaves"])
    ('beryl', None, None)
    """
    name = structures.strip().lower() if isinstance(structures, str) else None
    return name if name in NAMED else None


def ids_of_regions(tree: SimpleTree, name: str) -> list[int]:
    """Structures of regions with a name, as far as a tree has them.

    Parameters
    ----------
    tree
        The structures.
    name
        Key of `NAMED`.

    Raises
    ------
    OntologyError
        If no structure is in the set, or the tree is not that of the parcellation.

    Examples
    --------
    >>> import refspace
    >>> tree = refspace.phantom(resolution=400).structure_tree
    >>> len(ids_of_regions(tree, "cosmos"))
    10
    """
    regions = NAMED[name]
    if regions.table is not None:
        return _ids_of_table(tree, name, _table(regions.table))
    if regions.structure_set is None:
        return tree.numbering.leaves
    ids = members(tree).get(regions.structure_set, [])
    if not ids:
        raise OntologyError(
            f"{name!r} are the structures of set {regions.structure_set}, and none is in it; "
            "structures state their sets where they come from the Allen Institute's query API, as "
            "those of refspace.fetch('allen:ccf_2017') do"
        )
    return ids


@functools.cache
def _table(file: str) -> Mapping[int, str]:
    """Acronym of each structure of a published table."""
    text = (
        resources.files("refspace.structure_tree")
        .joinpath("data", file)
        .read_text(encoding="utf-8")
    )
    return {int(row["id"]): row["acronym"] for row in csv.DictReader(text.splitlines())}


def _ids_of_table(tree: SimpleTree, name: str, table: Mapping[int, str]) -> list[int]:
    there = {i: str(tree.records[i].get("acronym")).strip() for i in table if i in tree}
    # Ids alone prove nothing: any table of labels has some as small as these.
    others = [f"{i} ({there[i]} here)" for i in there if there[i].lower() != table[i].lower()]
    if others or not there:
        lack = f"different: {rec.listing(others)}" if others else "it has none of them"
        raise OntologyError(
            f"{name!r} are {len(table)} structures of the Allen mouse brain, and this tree is "
            f"another one ({lack}); give structures, depth or structure_set instead"
        )
    return list(there)


# ----- sets


def members(tree: SimpleTree) -> dict[int, list[int]]:
    """Structures of each set that is named in a tree, by the id of the set, sorted.

    Examples
    --------
    >>> import refspace
    >>> tree = refspace.phantom(resolution=400).structure_tree
    >>> members(tree)[514166994][:2]
    [402, 394]
    """
    found: dict[int, list[int]] = {}
    for i, record in tree.records.items():
        for set_id in rec.elements(record, "structure_set_ids"):
            found.setdefault(set_id, []).append(i)
    return dict(sorted(found.items()))


def set_names(tree: SimpleTree) -> dict[int, str]:
    """Names of those sets of a tree that are known: the Allen Institute's.

    Sets of a tree have these names where its structures are of a graph of the Allen Institute, as
    their ``graph_id`` says: elsewhere, set 2 or 3 may be anything.
    """
    return {
        set_id: ALLEN_SETS[set_id]
        for set_id, ids in members(tree).items()
        if set_id in ALLEN_SETS and all(tree.records[i].get("graph_id") is not None for i in ids)
    }


def ids_of_sets(tree: SimpleTree, wanted: Sequence[int | str]) -> list[int]:
    """Ids of sets that are named by id or by name, capitals aside.

    Raises
    ------
    OntologyError
        If no structure is in a set, or none is named.

    Examples
    --------
    >>> import refspace
    >>> tree = refspace.phantom(resolution=400).structure_tree
    >>> ids_of_sets(tree, ["brain - summary structures", 514166994])
    [167587189, 514166994]
    """
    known = members(tree)
    by_name = {name.lower(): set_id for set_id, name in set_names(tree).items()}
    found = [_set_id(key, by_name) for key in wanted]
    missing = [key for key, i in zip(wanted, found, strict=True) if i not in known]
    if missing or not wanted:
        raise OntologyError(
            f"no structure is in set {rec.listing(missing) or 'none'}; the sets of this tree "
            f"are {rec.listing(list(known)) or 'none'}; tree.sets() lists them"
        )
    return [i for i in found if i is not None]


def _set_id(key: int | str, by_name: Mapping[str, int]) -> int | None:
    if isinstance(key, str):
        return by_name.get(key.strip().lower())
    try:
        return operator.index(key)
    except TypeError as error:
        raise OntologyError(f"structure_set is {key!r}; give ids or names of sets") from error
