"""Reading structures from files of any form."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from refspace.errors import FormatError, OntologyError
from refspace.formats.structures.column_tables import read_column_table, read_parquet
from refspace.formats.structures.json_records import read_json
from refspace.formats.structures.line_tables import is_line_table, read_line_table
from refspace.formats.structures.tables import Table, make_tree
from refspace.formats.structures.xml_records import read_xml
from refspace.limits import check_limit, limit
from refspace.remote.objects import read_url
from refspace.structure_tree import StructureTree
from refspace.types import PathLike

_HTML = re.compile(rb"<(!doctype\s+html|html)\b", re.IGNORECASE)
_MARK = b"\xef\xbb\xbf"
# What files begin with that hold no structures, or in no form that is read.
_OTHERS = {
    b"version https://git-lfs.github.com/spec/": "a Git LFS pointer, and not the file that it "
    "stands for; fetch that with: git lfs pull",
    b"/annex/objects/": "a git-annex pointer, and not the file that it stands for; fetch that "
    "with: git annex get",
    b"PK\x03\x04": "a ZIP archive or an Excel workbook; unpack it, or save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "an Excel workbook; save the sheet as CSV",
    b"\x1f\x8b": "compressed with gzip, as volumes are; decompress it, if it is a table",
    b"NRRD": "a volume in NRRD, and no table; give it as the annotation",
    b"\x89HDF": "a file in HDF5; save the structures in it as CSV or JSON",
    b"%PDF": "a PDF document; save its table as CSV",
}


def read_structures(path: PathLike, *, columns: Mapping[str, str] | None = None) -> StructureTree:
    r"""Read a structure tree.

    Formats are told by what files hold, whatever they are called:

    - JSON: records, flat (with ``structure_id_path`` or ``parent_structure_id``) or nested by
      ``children``, as the Allen Institute, BrainGlobe, voxcell and siibra have them, alone or
      within ``msg``, ``data``, ``structures`` or ``regions``; or a mapping from labels to names;
    - CSV, TSV, with semicolons, or Parquet: a table with named columns, like those of the Allen
      Institute, BrainGlobe's ``terminology.csv``, BIDS's ``dseg.tsv``, and what pandas writes of
      ``tree.nodes()``;
    - look-up tables of ITK-SNAP, FreeSurfer and MRtrix, and lines of ``id name``;
    - XML: atlases of FSL, and the Allen Institute's structure graph.

    Numbers may be written as ``997.0``; cells like ``n/a`` are empty; a parent of -1, or of 0 where
    no structure has that id, is none. Blanks around names do not count. In tables of labels that
    state no hierarchy, each is a structure of its own, but 0, the background; where there is no
    acronym, the name serves as one. What `StructureTree.nodes` returns has the colours that the
    file states; wherever one is needed, as by `StructureTree.get_colormap`, it is made up.

    Of an atlas of FSL, ids are the values of its label images: its indices where it is of type
    Label, its indices plus one where it is probabilistic.

    Parameters
    ----------
    path
        Path or URL (anything that fsspec opens).
    columns
        Names of columns, or keys of records, by what they hold, where that is not found by itself:
        ``{"id": "region", "acronym": "code"}``. It is one of id, name, acronym, parent, path,
        color, red, green, blue, graph_order, graph_id and sets.

    Returns
    -------
    StructureTree
        The structures, cleaned, in the order of the file.

    Raises
    ------
    FormatError
        If the file is none of these, is damaged, or is a server's report of failure; the message
        names the line, and the columns or keys.
    OntologyError
        If its structures do not form a tree.
    FileNotFoundError
        If there is no such file.
    RemoteError
        If it cannot be read from where it is.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile("w", suffix=".csv", delete=False) as file:
    ...     _ = file.write("region,code\n997,root\n")
    >>> read_structures(file.name, columns={"id": "region", "acronym": "code"}).resolve("root")
    [997]
    """
    url = os.fspath(path)
    if Path(url).is_dir():
        raise FormatError(f"{url} is a folder; give the file of the structures")
    # The largest published ontology has some MB. Of a larger file, nothing is parsed.
    data = read_url(url, limit=limit("ontology_bytes"))
    return parse_structures(data, url, columns=columns)


def parse_structures(
    data: bytes, name: str, *, columns: Mapping[str, str] | None = None
) -> StructureTree:
    """Parse the content of a file of any form that `read_structures` reads.

    Parameters
    ----------
    data
        Content of the file.
    name
        Name of the file in errors.
    columns
        As for `read_structures`.
    """
    try:
        check_limit("ontology_bytes", len(data), f"it has {len(data)} bytes or more")
        return make_tree(_table(data), columns or {})
    except (FormatError, OntologyError) as error:
        raise type(error)(f"{name}: {error}") from error


def _table(data: bytes) -> Table:
    # Spreadsheets begin their files with a byte order mark.
    start = data.removeprefix(_MARK).lstrip()[:1024]
    for beginning, what in _OTHERS.items():
        if start.startswith(beginning):
            raise FormatError(what)
    if _HTML.search(start) and start.startswith(b"<"):
        raise FormatError("an HTML page, not a table; give the address of the file itself")
    if data.startswith(b"PAR1"):
        return read_parquet(data)
    if start.startswith(b"<"):
        return read_xml(data.removeprefix(_MARK).lstrip())
    return _text_table(_text(data))


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError(
            "not text in UTF-8; save it as that, in JSON, CSV or XML, or as a table of labels"
        ) from error


def _text_table(text: str) -> Table:
    if "\0" in text:
        raise FormatError("no text, but binary; give JSON, CSV or XML, or a table of labels")
    if text.lstrip()[:1] in ("{", "["):
        return read_json(text)
    return read_line_table(text) if is_line_table(text) else read_column_table(text)
