"""``RmaApi``: queries of models, in the language of the Allen Institute's API.

Source: http://help.brain-map.org/display/api/RESTful+Model+Access+(RMA).
"""

from collections.abc import Iterable
from typing import Any

from refspace.allensdk.api.api import Api
from refspace.errors import SourceError


class RmaApi(Api):
    """Queries of the API's models.

    Parameters
    ----------
    base_uri
        URL of the API, as for `Api`.

    Examples
    --------
    >>> RmaApi.quote_string("Mouse Connectivity - Summary")
    "'Mouse Connectivity - Summary'"
    """

    only_in_allensdk = (
        "build_query_url build_schema_query debug_clause filter filters get_schema model_stage "
        "only_except_tabular_clause options_clause order_clause pipe_stage service_query "
        "service_stage tuple_filters template_query to_filter_rhs rma_templates ALL COUNT "
        "CRITERIA DEBUG EQ EXCEPT EXCPT FALSE INCLUDE IS MODEL NUM_ROWS ONLY OPTIONS ORDER PIPE "
        "PREVIEW SERVICE START_ROW TABULAR TRUE"
    )

    def model_query(
        self,
        model: str,
        *,
        criteria: str | None = None,
        include: str | None = None,
        only: Iterable[str] | None = None,
        num_rows: int | str | None = None,
        start_row: int | None = None,
        order: Iterable[str] | None = None,
        count: bool | None = None,
    ) -> list[dict[str, Any]]:
        """Records of a model.

        Parameters
        ----------
        model
            Name of the model, like ``"StructureSet"``.
        criteria, include
            Which records, and which of their relations come with them, as RMA has it.
        only
            Fields of the answer.
        num_rows, start_row
            How many records, or ``"all"``, and the first one.
        order
            Fields that the records are in the order of.
        count
            Whether the answer counts the records.

        Raises
        ------
        RemoteError
            If the host cannot be reached, or reports a failure.
        """
        stages = {"rma::criteria": criteria, "rma::include": include}
        parts = [f"model::{model}"]
        parts += [f"{name},{text}" for name, text in stages.items() if text]
        options = {
            "only": only and ",".join(only),
            "num_rows": self.quote_string("all") if num_rows == "all" else num_rows,
            "start_row": start_row,
            "order": order and ",".join(order),
            "count": None if count is None else str(count).lower(),
        }
        stated = [f"[{name}$eq{value}]" for name, value in options.items() if value is not None]
        parts += [f"rma::options{''.join(stated)}"] if stated else []
        return self.json_msg_query(f"{self.rma_endpoint}/query.json?q={','.join(parts)}")

    @staticmethod
    def quote_string(the_string: str) -> str:
        """The text in the quotation marks of RMA.

        Raises
        ------
        SourceError
            If it holds one itself.
        """
        if "'" in the_string:
            raise SourceError(f"{the_string!r} holds a quotation mark, which ends a text in RMA")
        return f"'{the_string}'"
