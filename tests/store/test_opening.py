"""Opening a store: what is parsed and built when, what is kept, and what is not."""

import copy
import json
import pickle
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from helpers.strategies import families, few
from hypothesis import given
from hypothesis import strategies as st

import refspace
from refspace.errors import FormatError, RefspaceError
from refspace.grid import Grid
from refspace.store import ome, open_atlas, own_arrays, proven_roots, read
from refspace.store.digests import metadata_digest
from refspace.store.ome import LabelStructures, label_attributes, nodes_from_label
from refspace.store.proven_roots import ProvenRoot, ProvenRoots
from refspace.structure_tree import StructureTree
from refspace.structure_tree.numbering import Numbering

GRID = Grid((4, 4, 4), (25, 25, 25))


@pytest.fixture
def none_known(monkeypatch):
    """No store was opened before."""
    known = ProvenRoots()
    monkeypatch.setattr(read, "PROVEN_ROOTS", known)
    return known


@pytest.fixture
def parsed(monkeypatch):
    """Paths of the arrays whose metadata are parsed."""
    paths, parse = [], own_arrays._zarr_array
    monkeypatch.setattr(
        own_arrays, "_zarr_array", lambda path, node: paths.append(path) or parse(path, node)
    )
    return paths


@pytest.fixture
def made(monkeypatch):
    """Ids of the structures whose records are made, and graphs."""
    ids, record, graph = [], LabelStructures.record, Numbering.graph
    monkeypatch.setattr(LabelStructures, "record", lambda s, i: ids.append(i) or record(s, i))
    monkeypatch.setattr(Numbering, "graph", lambda self: ids.append("graph") or graph(self))
    return ids


@pytest.fixture
def own(phantom_store, tmp_path):
    """A copy of the store, which may be changed."""
    shutil.copytree(phantom_store, tmp_path / "own.zarr")
    return tmp_path / "own.zarr"


def rewritten(url, change):
    """Change the root metadata of a store, and prove them again."""
    path = url / "zarr.json"
    document = json.loads(path.read_text())
    change(document)
    document["attributes"]["refspace"]["metadata_sha256"] = metadata_digest(document)
    path.write_text(json.dumps(document))


# ----- when it is needed


def test_metadata_of_arrays_are_parsed_when_they_are_needed(phantom_store, none_known, parsed):
    atlas = open_atlas(str(phantom_store))
    assert len(atlas.levels) > 1
    assert len(atlas.arrays) > 20
    assert [level.array.shape for level in atlas.levels] == [lv.grid.shape for lv in atlas.levels]
    assert parsed == []
    space = refspace.open(phantom_store)
    assert parsed == ["s0/annotation", "s0/ap", "s0/dv", "s0/ml"]
    space.total_voxel_map  # noqa: B018
    assert parsed[4:] == ["label_index/s0/table"]
    space.make_structure_mask("AUDd").values  # noqa: B018
    assert parsed[5:] == ["label_index/s0/annotation_objects"]


def test_records_and_graphs_are_made_when_they_are_needed(phantom_store, none_known, made):
    tree = refspace.open(phantom_store).structure_tree
    assert tree.resolve(["VISp", "Dorsal auditory area", "997"]) == [385, 1011, 997]
    assert len(tree.descendant_ids(["Isocortex"])[0]) > 1
    assert "VISp" in tree
    assert "VISq" not in tree
    assert made == []
    assert tree["VISp"]["name"] == "Primary visual area"
    assert tree[385]["acronym"] == "VISp"
    assert made == [385]
    assert len(tree.graph) == len(tree)
    assert made[1] == "graph"
    assert sorted(made[2:]) == sorted({*tree} - {385})


def test_damaged_metadata_of_an_array_are_told_when_it_is_needed(own):
    def damage(document):
        document["consolidated_metadata"]["metadata"]["s0/dv"]["codecs"] = [{"name": "zzz"}]

    rewritten(own, damage)
    atlas = open_atlas(str(own))
    with pytest.raises(FormatError, match="zzz"):
        atlas.arrays["s0/dv"].shape and atlas.arrays["s0/dv"].dtype
    with pytest.raises(FormatError, match="zzz"):
        refspace.open(own)
    (fault,) = refspace.verify_store(own).faults
    assert "zzz" in str(fault)


@pytest.mark.parametrize("shape", [[True, 1, 2], [1.0, 2, 3], [-1, 2, 3], "abc", None, [2**70] * 3])
def test_a_shape_that_is_none_is_refused(own, shape):
    def damage(document):
        document["consolidated_metadata"]["metadata"]["s0/annotation"]["shape"] = shape

    rewritten(own, damage)
    with pytest.raises(RefspaceError):
        refspace.open(own)


# ----- the same bytes again


def test_the_same_bytes_are_parsed_once(phantom_store, tmp_path, none_known, monkeypatch):
    calls = []
    for name in ("read_document", "check_digest"):
        function = getattr(read, name)
        monkeypatch.setattr(
            read, name, lambda *args, n=name, f=function: calls.append(n) or f(*args)
        )
    structures = LabelStructures.from_label.__func__
    monkeypatch.setattr(
        ome.LabelStructures,
        "from_label",
        classmethod(lambda cls, a: calls.append("structures") or structures(cls, a)),
    )
    first = refspace.open(phantom_store)
    assert calls == ["read_document", "check_digest", "structures"]
    # The bytes count, and not where they are.
    shutil.copytree(phantom_store, tmp_path / "copy.zarr")
    for url in (phantom_store, tmp_path / "copy.zarr"):
        again = refspace.open(url)
        assert again.structure_tree.nodes() == first.structure_tree.nodes()
        assert again.url == str(url)
        assert again.total_voxel_map == first.total_voxel_map
    assert len(calls) == 3


def test_a_store_that_changed_is_read_anew(own, none_known):
    assert refspace.open(own).structure_tree["VISp"]["name"] == "Primary visual area"

    def rename(document):
        for entry in document["attributes"]["ome"]["image-label"]["properties"]:
            entry["name"] = f"{entry['name']} of another"

    rewritten(own, rename)
    assert refspace.open(own).structure_tree["VISp"]["name"] == "Primary visual area of another"
    content = (own / "zarr.json").read_text()
    (own / "zarr.json").write_text(content.replace("of another", "of nobody"))
    for _ in range(2):
        with pytest.raises(FormatError, match="is not what was written"):
            refspace.open(own)
    (own / "zarr.json").write_text(content)
    assert refspace.open(own).structure_tree["VISp"]["name"] == "Primary visual area of another"


def test_nothing_refused_is_kept(own, none_known):
    def damage(document):
        document["attributes"]["ome"]["image-label"]["colors"][3]["rgba"] = [0, 0, 0, 256]

    rewritten(own, damage)
    for _ in range(2):
        with pytest.raises(FormatError, match=r"rgba of .* must be four integers"):
            refspace.open(own)


def test_what_one_opening_gives_is_not_changed_by_another(phantom_store):
    first = refspace.open(phantom_store)
    before = copy.deepcopy(first.structure_tree.nodes())
    attrs, provenance = dict(first.annotation.attrs), dict(first.provenance)
    first.structure_tree.graph.nodes[385]["structure_set_ids"].append(-1)
    first.structure_tree.records[385]["name"] = "another"
    first.structure_tree.records[385]["rgb_triplet"][0] = -1
    open_atlas(str(phantom_store)).provenance["converter"] = "another"
    first.annotation.attrs["long_name"] = "another"
    first.annotation.ap.attrs["units"] = "another"
    again = refspace.open(phantom_store)
    assert again.structure_tree.nodes() == before
    assert again.annotation.attrs == attrs
    assert again.annotation.ap.attrs["units"] == "micrometer"
    assert dict(again.provenance) == provenance


def test_a_space_and_a_tree_of_a_store_are_pickled(phantom_store):
    space = refspace.open(phantom_store)
    tree = pickle.loads(pickle.dumps(space.structure_tree))
    assert tree.nodes() == space.structure_tree.nodes()
    assert tree.resolve("VISp") == [385]
    assert list(tree.graph.edges) == list(space.structure_tree.graph.edges)


def test_threads_open_the_same_store(phantom_store, none_known):
    start = threading.Barrier(8)

    def opened(_):
        start.wait()
        tree = refspace.open(phantom_store).structure_tree
        return tree["VISp"], tree.nodes(), len(tree.graph.edges)

    with ThreadPoolExecutor(8) as pool:
        first, *others = pool.map(opened, range(8))
    assert all(other == first for other in others)


def test_only_so_many_bytes_are_kept():
    root = ProvenRoot({}, LabelStructures.from_label(label([])))
    roots = ProvenRoots(most_bytes=10)
    for data in (b"aaaa", b"bbbb"):
        roots.put(data, root)
    assert roots.get(b"aaaa") is root  # and so the last that was used
    roots.put(b"cccc", root)
    assert [roots.get(data) is root for data in (b"aaaa", b"bbbb", b"cccc")] == [True, False, True]
    roots.put(b"d" * 11, root)
    assert roots.get(b"d" * 11) is None
    assert roots.get(b"aaaa") is root
    assert proven_roots.PROVEN_ROOTS is not roots


# ----- structures of a label image


def label(nodes):
    return {"ome": label_attributes("annotation", [("s0", GRID)], nodes)}


def tree_or_error(make):
    try:
        tree = make()
    except RefspaceError as error:
        return type(error), str(error)
    texts = ["root", "grey", "8", "997", "A", "B", *map(str, tree)]
    return (
        tree.nodes(),
        list(tree.graph.nodes(data=True)),
        list(tree.graph.edges),
        tree.descendant_ids(tree.node_ids()),
        tree.ancestor_ids(tree.node_ids()),
        [text in tree for text in texts],
        tree.get_colormap(),
    )


def assert_same_tree(group):
    """A tree of the columns is the one that is made of all records, or the same is refused."""
    found = tree_or_error(lambda: LabelStructures.from_label(group).tree())
    assert found == tree_or_error(lambda: StructureTree(nodes_from_label(group)))


@given(families())
@few
def test_trees_of_columns_and_of_records_are_the_same(family):
    assert_same_tree(label(StructureTree(family.records()).nodes()))


NODES = [
    {"id": 997, "acronym": "root", "name": "root", "structure_id_path": [997]},
    {
        "id": 8,
        "acronym": "A",
        "name": None,
        "rgb_triplet": [1, 2, 3],
        "structure_id_path": [997, 8],
    },
    {"id": 9, "structure_set_ids": [5], "parent_structure_id": 3, "structure_id_path": [997, 9]},
]
FIELDS = (
    *(
        "children",
        "rgb_triplet",
        "acronym",
        "name",
        "color_hex_triplet",
        "id",
        "parent_structure_id",
    ),
    *("structure_id_path", "structure_set_ids", "other"),
)
VALUES = (
    *(None, True, 0, 8, 1.5, "BFDAE3", "\ud800", [], [1], [997, 8], {"a": 1}, [{"id": 4}]),
    *([1, 2, 3], [1, 2, 300], "root", 2**32),
)


@pytest.mark.parametrize("beside", [False, True], ids=["in an entry", "beside the entries"])
@pytest.mark.parametrize("field", FIELDS)
def test_odd_fields_make_the_same_tree(field, beside):
    for value in VALUES:
        group = label(NODES)
        entry = group["ome"]["image-label"]
        if beside:
            entry["refspace"].setdefault(field, {})["8"] = value
        else:
            entry["properties"][1][field] = value
        assert_same_tree(group)


@given(st.lists(st.sampled_from([0, 1, 2]), min_size=1, max_size=4), st.data())
@few
def test_shuffled_entries_make_the_same_tree(order, data):
    group = label(NODES)
    entry = group["ome"]["image-label"]
    which = data.draw(st.sampled_from(["properties", "colors"]))
    entry[which] = [entry[which][i] for i in order]
    assert_same_tree(group)
