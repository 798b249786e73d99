"""The tree of brain structures, with AllenSDK's ``StructureTree`` interface."""

import functools
import operator
import re
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from refspace.errors import MissingFieldError, OntologyError, StructureNotFoundError
from refspace.structure_tree import drawing, named_regions, searching
from refspace.structure_tree import records as rec
from refspace.structure_tree.checked import CheckedStructures, check_structures
from refspace.structure_tree.colors import node_color
from refspace.structure_tree.numbering import with_paths
from refspace.structure_tree.outline import Outline, draw
from refspace.structure_tree.records import Record
from refspace.structure_tree.regions import Regions, RegionsLike, partition, subtree_regions
from refspace.structure_tree.simple_tree import (
    SimpleTree,
    as_list,
    did_you_mean,
    plain,
    sole_match,
)
from refspace.types import StructureLike, StructuresLike

if TYPE_CHECKING:
    import pandas as pd

# What is printed of a tree, so that it fits a screen.
_SHOWN_LINES = 40


class StructureTree(SimpleTree):
    """The structures of a brain as a tree.

    Wherever an argument names structures, it takes an id, an acronym, a name, or a list of them. A
    tree is read like a mapping from ids to structures: ``tree["VISp"]``, ``"VISp" in tree``, and
    iteration over its ids.

    Parameters
    ----------
    nodes
        Structures as dicts with at least an ``id`` and either a ``structure_id_path``, a
        ``parent_structure_id`` or ``children``. `clean_structures` makes them of published records,
        and `refspace.read_structures` reads them from files.

    Raises
    ------
    OntologyError
        If ids are not unique integers, a parent is missing, structures descend from themselves, a
        path contradicts the tree, or a colour is not one.

    Examples
    --------
    >>> tree = StructureTree([
    ...     {"id": 997, "acronym": "root", "name": "root", "structure_id_path": [997]},
    ...     {"id": 8, "acronym": "grey", "name": "Grey matter", "structure_id_path": [997, 8]},
    ... ])
    >>> tree.parents(["grey"])[0]["id"]
    997
    >>> print(tree)
    root (997)
    └─ grey Grey matter (8)
    """

    def __init__(self, nodes: "Iterable[Mapping[str, Any]] | CheckedStructures") -> None:
        checked = nodes if isinstance(nodes, CheckedStructures) else check_structures(nodes)
        self._set(checked.numbering, checked.records, operator.itemgetter("id"), rec.parent_id)
        self._texts = checked.texts

    @functools.cached_property
    def _by_acronym(self) -> dict[Hashable, list[int]]:
        return self._lookup("acronym")

    @functools.cached_property
    def _by_name(self) -> dict[Hashable, list[int]]:
        return self._lookup("name")

    def _lookup(self, field: str) -> dict[Hashable, list[int]]:
        """Ids of the structures by acronym or name, which several may share."""
        ids: dict[Hashable, list[int]] = {}
        for node_id, value in zip(self, self._texts[field], strict=True):
            if value is not None:
                ids.setdefault(_without_blanks(value), []).append(node_id)
        return ids

    # ----- finding structures

    def __contains__(self, structure: object) -> bool:
        """Whether there is a structure with an id, acronym or name.

        One is there, too, where several share the acronym or name, of which `tree[...]` asks which.
        """
        # Ids are asked for in loops: what follows takes ten times as long.
        if type(structure) is int:
            return structure in self.numbering.parents
        value: object = plain(structure)
        if isinstance(value, bool):
            return False
        if isinstance(value, Integral):
            return super().__contains__(value)
        if not isinstance(value, str):
            return False
        text = _without_blanks(value)
        return (
            text in self._by_acronym or text in self._by_name or self._by_digits(value) is not None
        )

    def __getitem__(self, structure: StructureLike) -> Record:
        """Record of one structure, by its id, acronym or name.

        Raises
        ------
        StructureNotFoundError
            If there is no such structure; near misses are suggested.

        Examples
        --------
        >>> import refspace
        >>> tree = refspace.phantom().structure_tree
        >>> tree["VISp"]["name"], tree[385]["acronym"], "VISp" in tree, "VISq" in tree
        ('Primary visual area', 'VISp', True, False)

        A tree is iterated over as a mapping from ids: ``for i in tree: tree[i]``.

        >>> list(tree)[:3], len(tree)
        ([997, 8, 567], 488)
        """
        return super().__getitem__(structure)

    def resolve(self, structures: StructuresLike) -> list[int]:
        """Turn ids, acronyms and names into ids.

        A text is looked up as an acronym, then as a name, then as the digits of an id; blanks around
        it do not count, nor do those around acronyms and names.

        Parameters
        ----------
        structures
            An id, an acronym, a name, or a collection of them.

        Returns
        -------
        list of int
            One id for each.

        Raises
        ------
        StructureNotFoundError
            If there is no such structure; near misses are suggested.

        Examples
        --------
        >>> tree = StructureTree([{"id": 385, "acronym": "VISp", "structure_id_path": [385]}])
        >>> tree.resolve("VISp"), tree.resolve([385, "385"])
        ([385], [385, 385])
        >>> tree.resolve("VISP")
        Traceback (most recent call last):
        ...
        refspace.errors.StructureNotFoundError: no structure has acronym, name or id 'VISP'; did you mean VISp?
        """  # noqa: E501
        return super().resolve(structures)

    def _resolve_one(self, value: Any) -> int:
        if isinstance(value, bool):
            # A bool is an Integral too: True would be structure 1.
            raise StructureNotFoundError(f"{value} is no structure; give an id, acronym or name")
        if isinstance(value, Integral) and value in self:
            return int(value)
        if isinstance(value, str):
            # Acronyms first: a table of labels may call structures by digits that are ids of
            # others.
            text = _without_blanks(value)
            matches = self._by_acronym.get(text) or self._by_name.get(text) or []
            if len(matches) > 1:
                raise StructureNotFoundError(
                    f"{value!r} names several structures, {rec.listing(matches)}; give one id"
                )
            if matches:
                return matches[0]
            if (structure_id := self._by_digits(value)) is not None:
                return structure_id
        hint = did_you_mean(value, [*self._by_acronym, *self._by_name])
        raise StructureNotFoundError(f"no structure has acronym, name or id {value!r}{hint}")

    def _by_digits(self, text: str) -> int | None:
        """Structure whose id a text has the digits of."""
        with suppress(OntologyError):
            if (structure_id := rec.structure_id(text)) in self:
                return structure_id
        return None

    def search(
        self, query: "str | re.Pattern[str]", *, regex: bool = False, limit: int | None = None
    ) -> "pd.DataFrame":
        r"""Structures whose acronym, name or id has some words, the best match first.

        Capitals do not count, and each word may be a part of one; "areas" finds areas and area. Of
        a word that occurs nowhere, those that are spelled like it are taken.

        Parameters
        ----------
        query
            Words, with blanks between them, all of which have to be there; or a compiled regular
            expression.
        regex
            Whether the query is a regular expression, in which capitals do not count either.
        limit
            How many structures to return at most.

        Returns
        -------
        pandas.DataFrame
            A row for each structure, as of `to_dataframe`, with ``match`` before the rest: of words
            ``exact``, ``acronym`` (which begins so), ``words``, ``beginnings`` of words, ``parts``
            of words or ``spelling``; of a regular expression the field that it is found in.

        Raises
        ------
        OntologyError
            If there is no word, or the query is no regular expression.

        Examples
        --------
        >>> import refspace
        >>> tree = refspace.phantom().structure_tree
        >>> tree.search("visual area")["acronym"].tolist()[:3]
        ['VISal', 'VISam', 'VISl']
        >>> tree.search("hipocampus", limit=1)[["name", "match"]].values.tolist()
        [['Hippocampal formation', 'spelling']]
        >>> tree.search(r"^visp\d", regex=True)["acronym"].tolist()
        ['VISp1', 'VISp2/3', 'VISp4', 'VISp5', 'VISp6a', 'VISp6b']
        """
        found: Mapping[int, str]
        if regex or isinstance(query, re.Pattern):
            found = searching.find_pattern(self, searching.as_pattern(query))
        else:
            found = searching.find_words(self, query)
        ids = list(found)[:limit]
        from refspace.structure_tree import frames

        table = frames.structures_frame(self, ids)
        table.insert(0, "match", [found[i] for i in ids])
        return table

    def get_structures_by_id(self, structure_ids: StructuresLike) -> list[Any]:
        """Structures of some ids; None for an id that is not in the tree.

        Examples
        --------
        >>> import refspace
        >>> tree = refspace.phantom().structure_tree
        >>> tree.get_structures_by_id([385])[0]["name"]
        'Primary visual area'
        """
        return self.nodes(structure_ids)

    def get_structures_by_name(self, names: str | Iterable[str]) -> list[Record]:
        """Structures of some names.

        Raises
        ------
        StructureNotFoundError
            If no structure has a name.
        NotUniqueError
            If several have it.

        Examples
        --------
        >>> import refspace
        >>> tree = refspace.phantom().structure_tree
        >>> tree.get_structures_by_name(["Dorsal auditory area"])[0]["acronym"]
        'AUDd'
        """
        return self._called("name", self._by_name, names)

    def get_structures_by_acronym(self, acronyms: str | Iterable[str]) -> list[Record]:
        """Structures of some acronyms.

        Raises
        ------
        StructureNotFoundError
            If no structure has an acronym.
        NotUniqueError
            If several have it.

        Examples
        --------
        >>> import refspace
        >>> tree = refspace.phantom().structure_tree
        >>> tree.get_structures_by_acronym(["AUDd", "VISp"])[1]["id"]
        385
        """
        return self._called("acronym", self._by_acronym, acronyms)

    def _called(
        self, field: str, ids: Mapping[Hashable, Sequence[int]], values: str | Iterable[str]
    ) -> list[Record]:
        """Structures by acronym or name, blanks around them aside."""
        if not ids:
            self._require(field)
        texts = map(_without_blanks, as_list(values))
        return self.nodes([sole_match(ids, text, field) for text in texts])

    def get_structures_by_set_id(self, structure_set_ids: int | Iterable[int]) -> list[Record]:
        """Structures that are in at least one of some sets.

        Examples
        --------
        >>> import refspace
        >>> tree = refspace.phantom().structure_tree
        >>> [node["acronym"] for node in tree.get_structures_by_set_id([514166994])]
        ['VISal', 'VISam', 'VISl', 'VISp', 'VISpm', 'VISrl']
        """
        wanted = set(as_list(structure_set_ids))
        return self.filter_nodes(
            lambda node: not wanted.isdisjoint(rec.elements(node, "structure_set_ids"))
        )

    def get_structure_sets(self) -> set[int]:
        """Ids of all sets that structures are in.

        Examples
        --------
        >>> import refspace
        >>> tree = refspace.phantom().structure_tree
        >>> 167587189 in tree.get_structure_sets()  # the summary structures
        True
        """
        return {
            set_id for node in self.nodes() for set_id in rec.elements(node, "structure_set_ids")
        }

    # ----- tables

    def to_dataframe(self) -> "pd.DataFrame":
        """Table of all structures, in the order of `node_ids`.

        Returns
        -------
        pandas.DataFrame
            Indexed by ``id``: ``acronym`` and ``name``, empty where there is none; ``parent``, its
            id, missing for a root; ``depth``, 0 for a root; ``color`` like ``#08858C``, which is
            that of `get_colormap`; ``path``, the ids from the root down to the structure; and
            ``sets``, the ids of the sets that it is in.

        Examples
        --------
        >>> import refspace
        >>> table = refspace.phantom().structure_tree.to_dataframe()
        >>> table.loc[385, ["acronym", "name", "color"]].tolist()
        ['VISp', 'Primary visual area', '#08858C']
        >>> int(table["path"].map(lambda path: 669 in path).sum())  # in the visual areas
        36
        """
        # Late: pandas is half of what a tree without tables would wait for.
        from refspace.structure_tree import frames

        return frames.structures_frame(self, self.node_ids())

    def sets(self) -> "pd.DataFrame":
        """Table of the sets that structures are in.

        Returns
        -------
        pandas.DataFrame
            Indexed by ``id``: ``name``, that of the Allen Institute where structures are of one of
            its graphs, else empty; ``structures``, how many are in the set; ``regions``, what
            `regions` takes for it, where it is called by a word.

        Examples
        --------
        >>> import refspace
        >>> sets = refspace.phantom().structure_tree.sets()
        >>> sets.loc[167587189, ["name", "regions"]].tolist(), int(sets.structures[167587189])
        (['Brain - Summary Structures', 'summary'], 137)
        """
        # Late: pandas is half of what a tree without tables would wait for.
        from refspace.structure_tree import frames

        return frames.sets_frame(self)

    def named_regions(self) -> "pd.DataFrame":
        """Table of the regions that `regions` knows by a name.

        Beryl and Cosmos are parcellations of the International Brain Laboratory: each structure
        belongs to the nearest one above it that is in their list. The negative ids that iblatlas
        gives to the left hemisphere do not occur: ``space.hemisphere("left")`` is that.

        Returns
        -------
        pandas.DataFrame
            Indexed by ``name``: ``regions``, how many of them this tree has, ``description`` and
            ``source``.

        Examples
        --------
        >>> import refspace
        >>> table = refspace.phantom().structure_tree.named_regions()
        >>> table["regions"].loc[["leaves", "summary", "beryl", "cosmos"]].tolist()
        [340, 137, 131, 10]
        """
        # Late: pandas is half of what a tree without tables would wait for.
        from refspace.structure_tree import frames

        return frames.named_regions_frame(self)

    # ----- maps

    def get_colormap(self) -> dict[int, list[int]]:
        """Red, green and blue of each structure, 0 to 255.

        A structure without a colour gets a made-up one. It follows from its id alone, so it is the
        same every time, in this tree and in any other.

        Examples
        --------
        >>> import refspace
        >>> tree = refspace.phantom().structure_tree
        >>> tree.get_colormap()[385]
        [8, 133, 140]
        """
        return self.value_map(lambda node: node["id"], node_color)

    def get_name_map(self) -> dict[int, str]:
        """Name of each structure.

        Examples
        --------
        >>> import refspace
        >>> tree = refspace.phantom().structure_tree
        >>> tree.get_name_map()[247]
        'Auditory areas'
        """
        self._require("name")
        return self.value_map(lambda node: node["id"], lambda node: node["name"])

    def get_id_acronym_map(self) -> dict[str, int]:
        """Id of each acronym.

        Examples
        --------
        >>> import refspace
        >>> tree = refspace.phantom().structure_tree
        >>> tree.get_id_acronym_map()["VISp"]
        385
        """
        self._require("acronym")
        return self.value_map(lambda node: node["acronym"], lambda node: node["id"])

    def get_ancestor_id_map(self) -> dict[int, list[int]]:
        """Ids from each structure, itself included, up to its root.

        Examples
        --------
        >>> import refspace
        >>> tree = refspace.phantom().structure_tree
        >>> tree.get_ancestor_id_map()[315]
        [315, 695, 688, 567, 8, 997]
        """
        return {node_id: self.numbering.ancestors(node_id) for node_id in self}

    def _require(self, field: str) -> None:
        lacking = [i for i, record in self.records.items() if record.get(field) is None]
        if lacking:
            raise MissingFieldError(
                f"structures have no {field}: {rec.listing(lacking)}; add it to their records"
            )

    # ----- descent

    def structure_descends_from(self, child_id: StructureLike, parent_id: StructureLike) -> bool:
        """Whether a structure is another one or one of its descendants.

        Examples
        --------
        >>> tree = StructureTree([{"id": 1, "structure_id_path": [1]},
        ...                       {"id": 2, "structure_id_path": [1, 2]}])
        >>> tree.structure_descends_from(2, 1), tree.structure_descends_from(1, 2)
        (True, False)
        """
        child = self._resolve_one(child_id)
        if isinstance(parent_id, Integral) and parent_id not in self:
            # As in AllenSDK, which looks the parent up among the ancestors of the child.
            return False
        parent = self._resolve_one(parent_id)
        starts = self.numbering.starts
        return starts[parent] <= starts[child] < self.numbering.ends[parent]

    def has_overlaps(self, structure_ids: StructuresLike) -> set[int]:
        """Ids of those structures that are ancestors of others of them.

        Examples
        --------
        >>> import refspace
        >>> tree = refspace.phantom().structure_tree
        >>> tree.has_overlaps(["Isocortex", "VISp", "TH"])
        {315}
        """
        ids = set(self.resolve(structure_ids))
        above = {ancestor for i in ids for ancestor in self.numbering.ancestors(i)[1:]}
        return ids & above

    def total(self, direct: Sequence[int] | NDArray[np.integer[Any]]) -> NDArray[np.int64]:
        """Sum a number per structure over each structure's subtree.

        Parameters
        ----------
        direct
            One number for each structure, in the order of `node_ids`.

        Returns
        -------
        ndarray of int64
            The sums, in the same order.

        Examples
        --------
        >>> tree = StructureTree([{"id": 1, "structure_id_path": [1]},
        ...                       {"id": 2, "structure_id_path": [1, 2]}])
        >>> tree.total([5, 7])
        array([12,  7])
        """
        # In pre-order a subtree is one interval, so all sums are differences of one running sum.
        start = np.array([self.numbering.starts[i] for i in self], np.intp)
        stop = np.array([self.numbering.ends[i] for i in self], np.intp)
        in_preorder = np.zeros(len(self), np.int64)
        in_preorder[start] = np.reshape(direct, len(self))
        sums = np.concatenate(([0], np.cumsum(in_preorder)))
        totals: NDArray[np.int64] = sums[stop] - sums[start]
        return totals

    # ----- regions

    def regions(
        self,
        structures: RegionsLike | None = None,
        *,
        depth: int | None = None,
        structure_set: int | str | Sequence[int | str] | None = None,
        direct_only: bool = False,
    ) -> Regions:
        """Regions for every verb that takes regions; all structures with their subtrees by default.

        Parameters
        ----------
        structures
            The structures whose subtrees are the regions. Or a name that `named_regions` lists:
            ``"leaves"``, structures without children; ``"summary"``, ``"divisions"`` and
            ``"observatory"``, sets of the Allen Institute; ``"beryl"`` and ``"cosmos"``, those
            structures of the International Brain Laboratory's that the tree has. (A structure that
            is called so is given in a list.) Or a mapping from structures to the labels of their
            regions, integers or texts: each structure belongs to the region of the nearest
            structure above it, or itself, that is in the mapping. Regions are returned as they are.
        depth
            Depth of the structures in the tree, 0 for its roots. Leaves that are less deep are
            regions too, so that they cover what the roots do.
        structure_set
            Id or name of a structure set, as `sets` lists them, or several: the structures that are
            in one of them.
        direct_only
            Whether to leave out the descendants of structures.

        Raises
        ------
        OntologyError
            If regions are chosen in several ways, or the tree has no such depth or set, or is not
            the one that regions with a name are of.
        StructureNotFoundError
            If there is no such structure.

        Examples
        --------
        >>> import refspace
        >>> tree = refspace.phantom(resolution=400).structure_tree
        >>> tree.regions(depth=2).acronyms[:3]
        ('CH', 'BS', 'CB')
        >>> tree.regions("cosmos").acronyms[:5]
        ('Isocortex', 'OLF', 'HPF', 'CTXsp', 'CNU')
        >>> print(tree.regions(["Isocortex", "VISp", "fiber tracts"]))  # doctest: +ELLIPSIS
        3 regions
        7 structures are in several regions: 385, 593, 821, 721, 778 and 2 more
        ... structures are in no region: ...
        """
        choices = {"structures": structures, "depth": depth, "structure_set": structure_set}
        chosen = [name for name, value in choices.items() if value is not None]
        if len(chosen) > 1:
            raise OntologyError(f"regions are named by {' and '.join(chosen)}; give one of them")
        if isinstance(structures, Regions):
            return structures
        if isinstance(structures, Mapping):
            return partition(self, structures, direct_only=direct_only)
        if depth is not None:
            ids = self._ids_at_depth(depth)
        elif structure_set is not None:
            ids = self._ids_in_sets(structure_set)
        elif (name := named_regions.name_of_regions(structures)) is not None:
            ids = named_regions.ids_of_regions(self, name)
        else:
            # Each once: a region that is named twice is one region.
            named = self.node_ids() if structures is None else self.resolve(structures)
            ids = list(dict.fromkeys(named))
        return subtree_regions(self, ids, direct_only=direct_only)

    def _ids_at_depth(self, depth: int) -> list[int]:
        """Structures of a depth, and leaves that are less deep."""
        depths = self.numbering.depths
        deepest = max(depths.values(), default=-1)
        if isinstance(depth, bool) or depth not in range(deepest + 1):
            raise OntologyError(
                f"depth is {depth!r}; give a depth from 0, that of the roots, to {deepest}, or "
                "'leaves' for structures without children"
            )
        leaves = {*self.numbering.leaves}
        return [i for i in self if depths[i] == depth or (depths[i] < depth and i in leaves)]

    def _ids_in_sets(self, structure_set: int | str | Sequence[int | str]) -> list[int]:
        wanted = named_regions.ids_of_sets(self, as_list(structure_set))
        return [node["id"] for node in self.get_structures_by_set_id(wanted)]

    # ----- export

    def export_label_description(
        self,
        alphas: Mapping[int, float] | None = None,
        exclude_label_vis: Collection[int] | None = None,
        exclude_mesh_vis: Collection[int] | None = None,
        label_key: str = "acronym",
    ) -> "pd.DataFrame":
        """Table of labels, as ITK-SNAP takes it.

        Parameters
        ----------
        alphas
            Opacity of structures, 0 to 1; 1 by default.
        exclude_label_vis
            Structures whose labels are hidden.
        exclude_mesh_vis
            Structures whose meshes are hidden.
        label_key
            Field to use as label.

        Returns
        -------
        pandas.DataFrame
            Columns IDX, -R-, -G-, -B-, -A-, VIS, MSH and LABEL, a row for each structure.

        Examples
        --------
        >>> import refspace
        >>> tree = refspace.phantom().structure_tree
        >>> tree.export_label_description(label_key="name")["LABEL"][1]
        'Basic cell groups and regions'
        """
        import pandas as pd

        self._require(label_key)
        opacity = dict(zip(self._mentioned(alphas), (alphas or {}).values(), strict=True))
        hidden = set(self._mentioned(exclude_label_vis))
        no_mesh = set(self._mentioned(exclude_mesh_vis))
        rows = [
            [i, *node_color(node), opacity.get(i, 1.0), i not in hidden, i not in no_mesh]
            for i, node in self.records.items()
        ]
        columns = ["IDX", "-R-", "-G-", "-B-", "-A-", "VIS", "MSH"]
        table = pd.DataFrame(rows, columns=columns).astype({"VIS": "int64", "MSH": "int64"})
        return table.assign(LABEL=[node[label_key] for node in self.records.values()])

    def _mentioned(self, structures: Any) -> list[int]:
        """Ids of structures that may be missing from the tree, as after `remove_unassigned`."""
        values = [] if structures is None else as_list(structures)
        return [v if isinstance(v, int) else self._resolve_one(v) for v in values]

    # ----- cleaning published records

    @staticmethod
    def clean_structures(
        structures: Iterable[Mapping[str, Any]],
        whitelist: Collection[str] | None = None,
        data_transforms: Mapping[str, Callable[[Any], Any]] | None = None,
        renames: Mapping[str, str] | None = None,
    ) -> list[Record]:
        """Keep the fields that matter of published structures, and parse paths, colours and sets.

        The structures passed in are left as they are.

        Parameters
        ----------
        structures
            Records of the Allen Institute's API, flat or nested.
        whitelist
            Fields to keep.
        data_transforms
            Function for each field whose value is to be converted.
        renames
            New name for each field that gets one, after conversion.

        Examples
        --------
        >>> record = {"id": 8, "structure_id_path": "/997/8/", "color_hex_triplet": "BFDAE3",
        ...           "atlas_id": 0, "structure_sets": [{"id": 12}]}
        >>> StructureTree.clean_structures([record])
        [{'id': 8, 'structure_id_path': [997, 8], 'rgb_triplet': [191, 218, 227], 'structure_set_ids': [12]}]
        """  # noqa: E501
        flat = [rec.as_record(structure) for structure in structures]
        if any(structure.get("children") for structure in flat):
            flat = rec.flatten(flat)
        for structure in flat:
            structure["structure_set_ids"] = rec.collect_sets(structure)
        return rec.clean(
            with_paths(flat),
            StructureTree.whitelist() if whitelist is None else whitelist,
            StructureTree.data_transforms() if data_transforms is None else data_transforms,
            StructureTree.renames() if renames is None else renames,
        )

    @staticmethod
    def whitelist() -> list[str]:
        """Fields that `clean_structures` keeps."""
        return list(rec.WHITELIST)

    @staticmethod
    def data_transforms() -> dict[str, Callable[[Any], Any]]:
        """Functions by which `clean_structures` converts fields."""
        return dict(rec.TRANSFORMS)

    @staticmethod
    def renames() -> dict[str, str]:
        """Fields that `clean_structures` renames."""
        return dict(rec.RENAMES)

    path_to_list = staticmethod(rec.path_to_list)
    hex_to_rgb = staticmethod(rec.hex_to_rgb)
    collect_sets = staticmethod(rec.collect_sets)

    # ----- showing

    def show(
        self,
        structure: StructuresLike | None = None,
        *,
        depth: int | None = 2,
        counts: "Mapping[Any, float] | pd.Series[Any] | None" = None,
        width: int | None = None,
    ) -> Outline:
        """Draw the tree, or what is below a structure, as text with a line for each structure.

        Parameters
        ----------
        structure
            The structure, or several; the whole tree if not given.
        depth
            How many levels below it to draw; None for all.
        counts
            Numbers to write before structures: a mapping, or a Series, from structures to numbers,
            like `ReferenceSpace.total_voxel_map`. Structures that it lacks have none.
        width
            Number of characters at which to cut lines, as of a terminal.

        Returns
        -------
        str
            The drawing, which a notebook or prompt shows as it is.

        Raises
        ------
        StructureNotFoundError
            If there is no such structure.
        OntologyError
            If the depth is not one.

        Examples
        --------
        >>> import refspace
        >>> space = refspace.phantom(resolution=200)
        >>> space.structure_tree.show("VIS", depth=1, counts=space.total_voxel_map)
        1622  VIS Visual areas (669)
         158  ├─ VISal Anterolateral visual area (402) … 6 below
         100  ├─ VISam Anteromedial visual area (394) … 6 below
         418  ├─ VISl Lateral visual area (409) … 6 below
         834  ├─ VISp Primary visual area (385) … 6 below
         112  └─ VISpm posteromedial visual area (533) … 6 below
        """
        if depth is not None and (isinstance(depth, bool) or not depth >= 0):
            raise OntologyError(f"depth is {depth!r}; give a number of levels, 0 or more")
        numbers = None
        if counts is not None:
            pairs = list(counts.items())
            ids = self.resolve([key for key, _ in pairs])
            numbers = {i: float(value) for i, (_, value) in zip(ids, pairs, strict=True)}
        top = self.numbering.roots if structure is None else self.resolve(structure)
        return draw(self, top, depth=depth, counts=numbers, width=width)

    def __repr__(self) -> str:
        return drawing.summarize(self)

    def __str__(self) -> str:
        """Draw the upper levels of the tree."""
        return str(draw(self, self.numbering.roots, depth=2, most=_SHOWN_LINES))

    def _repr_html_(self) -> str:
        return drawing.draw_html(self)


def _without_blanks(value: Hashable) -> Hashable:
    """Acronym or name without the blanks around it, as files may have them."""
    return value.strip() if isinstance(value, str) else value
