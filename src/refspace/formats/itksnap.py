"""ITK-SNAP label descriptions: text files that name and colour the labels of an image.

Each row is ``IDX R G B A VIS MSH "LABEL"``, separated by white space: the value of the label (at
most 65 535), its colour (0 to 255), its opacity (0 to 1), whether it and its mesh are visible (0 or
1), and its name. Source: the comment atop files that ITK-SNAP writes.
"""

import csv
import re
from pathlib import Path

import pandas as pd

from refspace.types import BACKGROUND, PathLike

COLUMNS = ("IDX", "-R-", "-G-", "-B-", "-A-", "VIS", "MSH", "LABEL")
_HEADER = "# ITK-SNAP label description\n#   {}\n".format("  ".join(COLUMNS))
_CLEAR_ROW = '0 0 0 0 0 0 0 "Clear Label"\n'


def hide_outside(table: pd.DataFrame) -> pd.DataFrame:
    """The same table, whose row of label 0, if there is one, is black and invisible.

    Label 0 is outside, whatever structure has it as its id.

    Parameters
    ----------
    table
        Label description, as `StructureTree.export_label_description` returns it.

    Examples
    --------
    >>> table = pd.DataFrame([[0, 9, 9, 9, 1.0, 1, 1, "universe"]], columns=COLUMNS)
    >>> hide_outside(table).values.tolist()
    [[0, 0, 0, 0, 0.0, 0, 0, 'universe']]
    """
    hidden = table.copy()
    hidden.loc[hidden["IDX"] == BACKGROUND, list(COLUMNS[1:-1])] = 0
    return hidden


def renumber(table: pd.DataFrame) -> tuple[pd.DataFrame, dict[int, int]]:
    """Number labels from 1 in the order of their names, as AllenSDK does for ids beyond 65 535.

    Label 0 stays 0, for it is outside, whatever structure has it as its id.

    Parameters
    ----------
    table
        Label description, as `StructureTree.export_label_description` returns it.

    Returns
    -------
    table
        The same labels, sorted, with new ids.
    new_ids
        New id of each old one.

    Examples
    --------
    >>> table = pd.DataFrame({"IDX": [997, 70000], "LABEL": ["root", "grey"]})
    >>> renumber(table)[1]
    {70000: 1, 997: 2}
    """
    # Sorted as Python values, by code point: pandas' order depends on the string type of the
    # column.
    labels = table["LABEL"].tolist()
    is_outside = (table["IDX"] == BACKGROUND).tolist()
    order = sorted(range(len(labels)), key=lambda row: (not is_outside[row], labels[row]))
    ordered = table.iloc[order].reset_index(drop=True)
    new_ids = {int(old): new for new, old in enumerate(ordered["IDX"], start=not any(is_outside))}
    return ordered.assign(IDX=list(new_ids.values())), new_ids


def write_label_description(
    path: PathLike, table: pd.DataFrame, *, itksnap_header: bool = False
) -> None:
    """Write a label description.

    Parameters
    ----------
    path
        File to write.
    table
        Columns IDX, -R-, -G-, -B-, -A-, VIS, MSH and LABEL. The format knows no escapes: double
        quotes and line breaks in a label are written as single quotes and blanks.
    itksnap_header
        Whether to begin with a comment and the clear label, as ITK-SNAP does. That takes the place
        of a row of label 0.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "labels.txt")
    >>> table = pd.DataFrame([[1, 8, 133, 140, 1.0, 1, 1, "VISp"]], columns=COLUMNS)
    >>> write_label_description(path, table)
    >>> print(path.read_text().strip())
    1 8 133 140 1.0 1 1 "VISp"
    """
    labels = [re.sub(r"\s", " ", str(label)).replace('"', "'") for label in table["LABEL"]]
    rows = table.loc[:, list(COLUMNS)].assign(LABEL=labels)
    if itksnap_header:
        rows = rows[rows["IDX"] != BACKGROUND]
    text = rows.to_csv(
        sep=" ", header=False, index=False, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n"
    )
    Path(path).write_text(
        (_HEADER + _CLEAR_ROW if itksnap_header else "") + text, "utf-8", newline="\n"
    )
