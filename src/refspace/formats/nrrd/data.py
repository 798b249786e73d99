"""Where the data of an NRRD file are: behind the header, or in the file beside it that it names."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from refspace.errors import FormatError
from refspace.formats.beside import beside
from refspace.formats.encoded_voxels import MAX_DEFLATE_RATIO, Encoding
from refspace.formats.source_file import SourceFile, opened_source
from refspace.limits import check_limit, limit


@dataclass(frozen=True)
class DataPlace:
    """Where the data are, checked against the size of their file.

    Parameters
    ----------
    files
        The file; or its header, and the file of its data.
    offset
        Position of the data in their file, or of the stream that holds them.
    skipped
        Bytes before the data in a stream.
    """

    files: tuple[SourceFile, ...]
    offset: int
    skipped: int = 0


def data_place(
    fields: Mapping[str, Any], encoding: Encoding, nbytes: int, source: SourceFile, end: int
) -> DataPlace:
    """Where the data are that a header describes.

    Parameters
    ----------
    fields
        Fields of the header.
    encoding
        How the data are encoded.
    nbytes
        Size of the decoded data.
    source
        File of the header.
    end
        Position at which the header ends.

    Raises
    ------
    FormatError
        If they are elsewhere than in this file or beside it, or their file is of another size.
    """
    lines, skip = _either(fields, "line skip") or 0, _either(fields, "byte skip") or 0
    # byte skip -1: the data are the last bytes of the file.
    at_end = encoding == "raw" and skip == -1
    name = _either(fields, "data file")
    allowed = (lines == 0 and skip == 0) if name is None else (lines >= 0 and skip >= 0)
    if not (allowed or (lines == 0 and at_end)):
        raise FormatError(
            f"line skip {lines} and byte skip {skip} are not supported with encoding {encoding}"
            f"{'' if name is not None else ' and attached data'}; save it without them"
        )
    files: tuple[SourceFile, ...] = (source,)
    start = end
    if name is not None:
        files = (source, beside(source, name))
        start = _end_of_lines(files[-1], lines)
    # Of compressed data, bytes are skipped in what is decoded.
    before = max(0, skip)
    _check_size(nbytes, before, files[-1].size - start, encoding, is_open=at_end)
    if at_end:
        return DataPlace(files, files[-1].size - nbytes)
    if encoding == "raw":
        return DataPlace(files, start + before)
    return DataPlace(files, start, before)


def _check_size(
    nbytes: int, before: int, stored: int, encoding: Encoding, *, is_open: bool
) -> None:
    most = stored * (MAX_DEFLATE_RATIO if encoding == "gzip" else 1)
    needed = nbytes + before
    if needed > most or (encoding == "raw" and needed != stored and not is_open):
        raise FormatError(
            f"sizes and type make {nbytes} bytes, but the file holds {stored} bytes of {encoding} "
            f"data, which {'are' if encoding == 'raw' else 'can be at most'} {most}; the file is "
            "cut short or its header is wrong: get it again"
        )


def _end_of_lines(data: SourceFile, count: int) -> int:
    """Position at which some lines of a file end."""
    if not count:
        return 0
    check_limit("header_bytes", count, f"line skip is {count}")
    with opened_source(data.path, data.storage_options) as (_, file):
        for _ in range(count):
            file.readline(limit("header_bytes"))
            check_limit("header_bytes", file.tell(), "the skipped lines are as long as a header")
        return file.tell()


def _either(fields: Mapping[str, Any], name: str) -> Any:
    """Value of a field whose name the format allows with and without its space."""
    twin = name.replace(" ", "")
    if name in fields and twin in fields:
        raise FormatError(f"the header has both {name!r} and {twin!r}; remove one")
    return fields.get(name, fields.get(twin))
