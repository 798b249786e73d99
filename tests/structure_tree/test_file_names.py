"""Names of files of structures, by acronyms of any kind."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from refspace.errors import FormatError
from refspace.structure_tree.file_names import file_stems, unfinished_pattern

TEXTS = st.one_of(
    st.text(max_size=120),
    st.text("aA/1_. \\:é-", max_size=6),
    st.sampled_from(["VISp", "visp", "VISP", "VISp2/3", "VISp2_3", "VISp_1", "con", "NUL.x", ".."]),
    st.sampled_from(["structure_1", "structure_2", "../../etc/passwd", "-rf", "", "a\0b", "\n"]),
)


@example(["NUL.0", "nul.0", "com1.a"])
@given(st.lists(TEXTS, max_size=12))
def test_names_are_safe_and_differ_on_any_file_system(acronyms: list[str]) -> None:
    nodes = [{"id": number, "acronym": text} for number, text in enumerate(acronyms, 1)]
    stems = file_stems(nodes, "acronym")
    assert [*stems] == [node["id"] for node in nodes]
    assert len({stem.lower() for stem in stems.values()}) == len(nodes)
    for number, stem in stems.items():
        assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.+=@,-]{0,99}", stem)
        assert not stem.endswith(".")
        assert not re.fullmatch(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?", stem)
        # What looks like a name by id is one of that id.
        by_id = re.fullmatch(r"(?i)structure_(\d+)", stem)
        assert by_id is None or int(by_id[1]) == number


@given(st.lists(TEXTS, min_size=1, max_size=8, unique=True))
def test_plain_acronyms_that_stand_alone_are_kept(acronyms: list[str]) -> None:
    nodes = [{"id": n, "acronym": text} for n, text in enumerate(acronyms, 1)]
    nodes.append({"id": 99, "acronym": "Isocortex-x"})
    assert file_stems(nodes, "acronym")[99] == "Isocortex-x"


def test_nodes_without_acronyms_and_other_names() -> None:
    assert file_stems([{"id": 7}, {"id": 8, "acronym": None}], "acronym") == {
        7: "structure_7",
        8: "structure_8",
    }
    with pytest.raises(FormatError, match="names is 'name'; files are named by 'id' or 'acronym'"):
        file_stems([], "name")  # type: ignore[arg-type]


def test_what_is_not_finished_is_known_by_names_of_ours() -> None:
    pattern = unfinished_pattern(["VISp2_3", "a.b"], r"(\.nii|\.nii\.gz)?")
    ours = ["VISp2_3.nii.0123abcd.partial.gz", "a.b.nii.gz.0123abcd.partial.json"]
    for name in (*ours, "structure_5.nii.0123abcd.partial.gz"):
        assert pattern.fullmatch(f".{name}"), name
    for name in ("aXb.nii.0123abcd.partial.gz", "VISp2_3.nii.partial.gz", "x.0123abcd.partial.gz"):
        assert not pattern.fullmatch(f".{name}"), name
