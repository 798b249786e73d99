"""Random forests of structures, and what plain Python says of them."""

from typing import NamedTuple

from hypothesis import strategies as st

from helpers.profiles import examples
from refspace import StructureTree

few = examples(50)

# Ids that collide in float32, overflow uint16 or int32, or are the ends of what is allowed.
AWKWARD_IDS = [0, 1, 997, 65535, 65536, 2**24, 2**24 + 1, 614454277, 2**31, 2**32 - 1]
ids = st.one_of(st.sampled_from(AWKWARD_IDS), st.integers(0, 2**32 - 1))


class Family(NamedTuple):
    """Parent of each structure, in the order of the records."""

    parents: dict

    def children(self, structure):
        return [child for child, parent in self.parents.items() if parent == structure]

    def subtree(self, structure):
        return [structure, *(i for child in self.children(structure) for i in self.subtree(child))]

    def upwards(self, structure):
        parent = self.parents[structure]
        return [structure] if parent is None else [structure, *self.upwards(parent)]

    def preorder(self):
        return [i for root in self.children(None) for i in self.subtree(root)]

    def records(self):
        """Complete records, in the order of the cleaned ones."""
        return [
            {
                "acronym": f"a{i}",
                "graph_order": order,
                "id": i,
                "name": f"structure {i}",
                "rgb_triplet": [i % 251, i % 241, i % 7],
                "structure_id_path": self.upwards(i)[::-1],
                "structure_set_ids": sorted({i % 3, 10 + i % 2}),
            }
            for order, i in enumerate(self.parents)
        ]

    def tree(self):
        return StructureTree(self.records())


@st.composite
def families(draw, max_structures=16, ids=ids):
    """One or several trees of up to 16 structures, children before their parents too."""
    chosen = draw(st.lists(ids, min_size=1, max_size=max_structures, unique=True))
    above = {i: draw(st.sampled_from([None, *chosen[:n]])) for n, i in enumerate(chosen)}
    return Family({i: above[i] for i in draw(st.permutations(chosen))})
