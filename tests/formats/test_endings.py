"""Names that end in nothing that is written: one message, whatever would be written."""

from collections.abc import Callable

import pytest

from refspace.errors import FormatError
from refspace.formats.endings import checked_ending
from refspace.formats.meshes import mesh_ending
from refspace.formats.names import output_ending
from refspace.formats.structure_output import structures_ending
from refspace.formats.tables import table_ending


@pytest.mark.parametrize("check", [mesh_ending, output_ending, structures_ending, table_ending])
def test_control_characters_are_escaped(check: Callable[[str], str]) -> None:
    message = r"^a\\x07\.doc does not end in \.\w+.* or \.\w+; \w+ are"
    with pytest.raises(FormatError, match=message):
        check("a\x07.doc")


def test_an_ending_is_that_of_the_name_alone() -> None:
    assert checked_ending("a.csv/b.TSV", (".csv", ".tsv"), "rule") == ".tsv"
    with pytest.raises(FormatError, match=r"^b\.csv/b does not end in \.csv or \.tsv; rule$"):
        checked_ending("b.csv/b", (".csv", ".tsv"), "rule")
