"""ITK-SNAP label descriptions.

A text file with a row per label, ``IDX R G B A VIS MSH "LABEL"``, separated by white space: the
number of the label (at most 65 535), its colour (0 to 255), its opacity (0 to 1), whether it and
its mesh are visible (0 or 1), and its name. Source: the comment atop files that ITK-SNAP writes.
"""

import csv
import os
import re
from pathlib import Path

import pandas as pd

COLUMNS = ("IDX", "-R-", "-G-", "-B-", "-A-", "VIS", "MSH", "LABEL")
_HEADER = "# ITK-SNAP label description\n#   {}\n".format("  ".join(COLUMNS))
_CLEAR_ROW = '0 0 0 0 0 0 0 "Clear Label"\n'


def renumber(table: pd.DataFrame) -> tuple[pd.DataFrame, dict[int, int]]:
    """Number labels from 1 in the order of their names.

    Parameters
    ----------
    table
        Label description, as `StructureTree.export_label_description` gives it.

    Returns
    -------
    table
        The same labels, sorted, with new numbers.
    numbers
        New number of each old one.

    Examples
    --------
    >>> table = pd.DataFrame({"IDX": [997, 70000], "LABEL": ["root", "grey"]})
    >>> renumber(table)[1]
    {70000: 1, 997: 2}
    """
    # A stable sort of Python's values: texts by code point, whatever string type the table has.
    labels = table["LABEL"].tolist()
    order = sorted(range(len(labels)), key=labels.__getitem__)
    ordered = table.iloc[order].reset_index(drop=True)
    numbers = {int(old): new for new, old in enumerate(ordered["IDX"], start=1)}
    return ordered.assign(IDX=list(numbers.values())), numbers


def write_label_description(
    path: str | os.PathLike[str], table: pd.DataFrame, *, itksnap_header: bool = False
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
        Whether to begin with a comment and the clear label, as ITK-SNAP does.

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
    text = rows.to_csv(
        sep=" ", header=False, index=False, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n"
    )
    Path(path).write_text(
        (_HEADER + _CLEAR_ROW if itksnap_header else "") + text, "utf-8", newline="\n"
    )
