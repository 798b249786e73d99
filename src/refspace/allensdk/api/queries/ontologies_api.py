"""``OntologiesApi``: structures, their sets and graphs, as the Allen Institute's API sends them."""

from collections.abc import Iterable
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from refspace.allensdk.api.queries.rma_api import RmaApi
from refspace.errors import SourceError
from refspace.sources.allen import check_graph, no_structures

Ids: TypeAlias = int | Iterable[int]
Names: TypeAlias = str | Iterable[str]

_ORDER = ("structures.graph_order",)
_WANTED = (
    "name structure_graph_ids, structure_graph_names, structure_set_ids or structure_set_names"
)


class OntologiesApi(RmaApi):
    """Queries of structures. Each call asks the host; caches keep what they have asked for.

    Parameters
    ----------
    base_uri
        URL of the API, as for `Api`.
    """

    only_in_allensdk = "get_atlases_table"

    def get_structures_with_sets(
        self,
        structure_graph_ids: Ids,
        order: Iterable[str] | None = _ORDER,
        num_rows: int | str = "all",
        count: bool = False,
    ) -> list[dict[str, Any]]:
        """Structures of graphs, each with its sets: what `StructureTree.clean_structures` takes.

        Parameters
        ----------
        structure_graph_ids
            Id of a graph, or several: 1 adult mouse, 17 developing mouse, 10 human, 16 developing
            human.
        order, num_rows, count
            As for `model_query`.

        Raises
        ------
        SourceError
            If the graph has no structures.
        RemoteError
            If the host cannot be reached, or reports a failure.
        """
        ids = _ids(structure_graph_ids)
        records = self.model_query(
            "Structure",
            criteria=f"[graph_id$in{ids}]",
            include="structure_sets",
            order=order,
            num_rows=num_rows,
            count=count,
        )
        if not records and num_rows == "all":
            raise no_structures(ids)
        return records

    def get_structures(
        self,
        structure_graph_ids: Ids | None = None,
        structure_graph_names: Names | None = None,
        structure_set_ids: Ids | None = None,
        structure_set_names: Names | None = None,
        order: Iterable[str] | None = _ORDER,
        num_rows: int | str = "all",
        count: bool = False,
    ) -> list[dict[str, Any]]:
        """Structures of graphs, or of sets, without their sets.

        Parameters
        ----------
        structure_graph_ids, structure_graph_names, structure_set_ids, structure_set_names
            Ids or names of graphs or of sets; the first that is given counts. Names are in the
            quotation marks that `quote_string` adds.
        order, num_rows, count
            As for `model_query`.

        Raises
        ------
        SourceError
            If nothing is named.
        RemoteError
            If the host cannot be reached, or reports a failure.
        """
        if structure_graph_ids is not None:
            criteria = f"[graph_id$in{_ids(structure_graph_ids)}]"
        elif structure_graph_names is not None:
            criteria = f"graph[structure_graphs.name$in{_names(structure_graph_names)}]"
        elif structure_set_ids is not None:
            criteria = f"[structure_set_id$in{_ids(structure_set_ids)}]"
        elif structure_set_names is not None:
            criteria = f"structure_sets[name$in{_names(structure_set_names)}]"
        else:
            raise SourceError(f"no graph and no set is named; {_WANTED}")
        return self.model_query(
            "Structure", criteria=criteria, order=order, num_rows=num_rows, count=count
        )

    def get_structure_sets(self, structure_set_ids: Ids | None = None) -> list[dict[str, Any]]:
        """Structure sets, with their names and descriptions.

        Parameters
        ----------
        structure_set_ids
            Ids of sets; all if not given.

        Raises
        ------
        RemoteError
            If the host cannot be reached, or reports a failure.
        """
        criteria = None if structure_set_ids is None else f"[id$in{_ids(structure_set_ids)}]"
        return self.model_query("StructureSet", criteria=criteria, num_rows="all", count=False)

    def get_structure_graphs(self) -> list[dict[str, Any]]:
        """Structure graphs.

        Raises
        ------
        RemoteError
            If the host cannot be reached, or reports a failure.
        """
        return self.model_query("StructureGraph", num_rows="all", count=False)

    def get_atlases(self) -> list[dict[str, Any]]:
        """Atlases.

        Raises
        ------
        RemoteError
            If the host cannot be reached, or reports a failure.
        """
        return self.model_query("Atlas", num_rows="all", count=False)

    @staticmethod
    def unpack_structure_set_ancestors(structure_dataframe: pd.DataFrame) -> None:
        """Add a column ``structure_set_ancestor`` to a table: the ids of the path, as an array.

        Parameters
        ----------
        structure_dataframe
            Table with a column ``structure_id_path``, like ``"/997/8/"``; it is changed.
        """
        paths = structure_dataframe["structure_id_path"]
        ancestors = [np.array(path.strip("/").split("/"), np.int64) for path in paths]
        structure_dataframe["structure_set_ancestor"] = pd.Series(ancestors, paths.index)


def _ids(ids: Ids) -> str:
    """Ids as a query has them; numbers alone, so that none is more than an id."""
    several = ids if isinstance(ids, Iterable) and not isinstance(ids, str) else [ids]
    several = sorted(several) if isinstance(several, set | frozenset) else several
    return ",".join(str(check_graph(number)) for number in several)


def _names(names: Names) -> str:
    return names if isinstance(names, str) else ",".join(names)
