"""Trees as columns of parents, against networkx."""

import pickle

import networkx as nx
import pytest
from helpers.strategies import families, few
from hypothesis import given

from refspace.errors import OntologyError
from refspace.structure_tree import StructureTree
from refspace.structure_tree.numbering import MAX_DEPTH, Numbering


def numbering_of(parents):
    return Numbering.from_parents([*parents], [*parents.values()])


def graph_of(parents):
    graph = nx.DiGraph()
    graph.add_nodes_from(parents)
    graph.add_edges_from((above, node) for node, above in parents.items() if above is not None)
    return graph


@given(families())
@few
def test_a_numbering_is_what_networkx_says(family):
    parents = {record["id"]: record.get("parent_structure_id") for record in family.records()}
    parents = {r["id"]: ([None, *r["structure_id_path"]][-2]) for r in family.records()}
    numbering, graph = numbering_of(parents), graph_of(parents)
    roots = [node for node in parents if parents[node] is None]
    assert numbering.roots == roots
    preorder = [node for root in roots for node in nx.dfs_preorder_nodes(graph, root)]
    assert numbering.preorder == preorder
    assert numbering.leaves == [node for node in parents if not graph.succ[node]]
    assert list(numbering.graph()) == list(graph)
    assert list(numbering.graph().edges) == list(graph.edges)
    paths = numbering.paths()
    assert list(paths) == list(numbering.depths) == preorder
    for node in parents:
        below = [*nx.dfs_preorder_nodes(graph, node)]
        assert numbering.subtree(node) == below
        assert numbering.children_of(node) == list(graph.succ[node])
        above = {node, *nx.ancestors(graph, node)}
        assert {*numbering.ancestors(node)} == above
        assert numbering.path(node) == paths[node] == numbering.ancestors(node)[::-1]
        assert numbering.depths[node] == len(above) - 1
        assert numbering.preorder[numbering.starts[node]] == node
        assert numbering.ends[node] - numbering.starts[node] == len(below)


def test_children_are_copies():
    numbering = numbering_of({1: None, 2: 1})
    numbering.children_of(1).append(9)
    numbering.subtree(1).append(9)
    assert (numbering.children_of(1), numbering.subtree(1)) == ([2], [1, 2])


def test_no_node_is_no_tree_but_a_numbering():
    numbering = numbering_of({})
    assert (numbering.preorder, numbering.depths, numbering.ends) == ([], {}, {})


@pytest.mark.parametrize(
    ("parents", "said"),
    [
        ({5: None, 1: 2, 2: 1}, "themselves: 1, 2; mend"),
        # What hangs on a cycle is not in it.
        ({7: 1, 1: 2, 2: 1}, "themselves: 1, 2; mend"),
        ({3: 3}, "themselves: 3; mend"),
        ({1: 8, 2: None}, r"missing from the structures: 1 \(parent 8\); give"),
        (
            dict(zip(range(MAX_DEPTH + 1), [None, *range(MAX_DEPTH)], strict=True)),
            "deeper than 100",
        ),
    ],
)
def test_what_is_no_tree_is_refused(parents, said):
    with pytest.raises(OntologyError, match=said):
        numbering_of(parents)


def test_the_deepest_tree():
    parents = dict(zip(range(MAX_DEPTH), [None, *range(MAX_DEPTH - 1)], strict=True))
    assert numbering_of(parents).depths[MAX_DEPTH - 1] == MAX_DEPTH - 1


def test_the_graph_is_made_when_it_is_asked_for(monkeypatch):
    made = []
    graph = Numbering.graph
    monkeypatch.setattr(Numbering, "graph", lambda self: made.append(1) or graph(self))
    nodes = [
        {"id": 997, "acronym": "root", "name": "root", "structure_id_path": [997]},
        {"id": 8, "acronym": "grey", "name": "Grey", "structure_id_path": [997, 8]},
    ]
    tree = StructureTree(nodes)
    repr(tree), str(tree), tree._repr_html_()
    assert tree.nodes() == nodes
    assert tree.regions("leaves").labels == (8,)
    assert tree.regions(depth=1).labels == (8,)
    assert tree.search("grey")["acronym"].tolist() == ["grey"]
    assert tree.to_dataframe()["depth"].tolist() == [0, 1]
    assert tree.descendant_ids([997]) == [[997, 8]]
    assert tree.ancestor_ids([8]) == [[8, 997]]
    assert tree.structure_descends_from(8, 997)
    assert pickle.loads(pickle.dumps(tree)).nodes() == nodes
    assert made == []
    assert tree.graph is tree.graph
    assert made == [1]
