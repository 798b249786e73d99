"""Search for structures: by words of acronyms, names and ids, by near spellings, by patterns."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

from refspace.errors import OntologyError
from refspace.structure_tree.simple_tree import SimpleTree

Match: TypeAlias = Literal["exact", "acronym", "words", "beginnings", "parts", "spelling"]

# The best first. Words are found by the worst match among them.
_MATCHES: tuple[Match, ...] = ("exact", "acronym", "words", "beginnings", "parts", "spelling")
_RANK = {match: rank for rank, match in enumerate(_MATCHES)}
_FIELDS = ("acronym", "name", "id")
# Similarity of words that are taken for one another, as difflib measures it: "fibre" and "fiber"
# have 0.8, "hipocampus" and "hippocampal" 0.76, "thalamus" and "hypothalamus" 0.8.
_NEAR = 0.75
_NEAR_WORDS = 3
_WORD = re.compile(r"[^\W_]+")


def find_words(tree: SimpleTree, query: str) -> dict[int, Match]:
    """Structures that have all words of a query in their acronym, name or id, the best first.

    Parameters
    ----------
    tree
        The structures.
    query
        Words with blanks between them; capitals do not count.

    Returns
    -------
    dict
        How each structure matches, by its id.

    Raises
    ------
    OntologyError
        If there is no word.

    Examples
    --------
    >>> import refspace
    >>> tree = refspace.phantom(resolution=400).structure_tree
    >>> list(find_words(tree, "lateral visual").items())[:2]
    [(409, 'words'), (421, 'words')]
    """
    words = query.casefold().split()
    if not words:
        raise OntologyError(f"there is no word in {query!r}; give one to look for")
    texts = {i: _text(record) for i, record in tree.records.items()}
    ranks = [_ranks(word, texts) for word in words]
    exact = {i: _exact(query.strip(), i, tree.records[i]) for i in texts}
    found: dict[int, Match] = {}
    for i in texts:
        by_word = [of_word[i] for of_word in ranks if i in of_word]
        rank = max(by_word) if len(by_word) == len(ranks) else None
        best = min((r for r in (rank, exact[i]) if r is not None), default=None)
        if best is not None:
            found[i] = _MATCHES[best]
    # Of those that match alike, short names first: "Visual areas" before a layer of one of them.
    order = {i: (_RANK[match], len(texts[i].split())) for i, match in found.items()}
    return {i: found[i] for i in sorted(found, key=order.__getitem__)}


def find_pattern(tree: SimpleTree, pattern: "re.Pattern[str]") -> dict[int, str]:
    """Structures of which a field holds a regular expression, in the order of the tree.

    Returns
    -------
    dict
        The first such field of each structure, by its id: acronym, name or id.

    Examples
    --------
    >>> import refspace
    >>> tree = refspace.phantom(resolution=400).structure_tree
    >>> find_pattern(tree, re.compile("^VISp[56]"))
    {778: 'acronym', 33: 'acronym', 305: 'acronym'}
    """
    found = {}
    for i, record in tree.records.items():
        values = {field: _value(record, field) for field in _FIELDS} | {"id": str(i)}
        if field := next((f for f, text in values.items() if pattern.search(text)), None):
            found[i] = field
    return found


def as_pattern(query: "str | re.Pattern[str]") -> "re.Pattern[str]":
    """Compile a regular expression that is a text, in which capitals do not count.

    Raises
    ------
    OntologyError
        If it is not one.

    Examples
    --------
    >>> as_pattern("^vis").search("VISp") is None
    False
    """
    if isinstance(query, re.Pattern):
        return query
    try:
        return re.compile(query, re.IGNORECASE)
    except re.error as error:
        raise OntologyError(
            f"{query!r} is no regular expression ({error}); put a backslash before characters "
            "that are meant as they are, or search for words"
        ) from error


# ----- words


def _value(record: Mapping[str, Any], field: str) -> str:
    value = record.get(field)
    return "" if value is None else str(value)


def _text(record: Mapping[str, Any]) -> str:
    """What words are looked for in; an id is found by itself alone."""
    return f"{_value(record, 'acronym')} {_value(record, 'name')}".casefold()


def _exact(query: str, structure_id: int, record: Mapping[str, Any]) -> int | None:
    """Rank of a structure whose acronym, name or id is the query, or whose acronym begins so."""
    acronym, name = (_value(record, field).strip().casefold() for field in ("acronym", "name"))
    folded = query.casefold()
    if folded in (acronym, name, str(structure_id)):
        return _RANK["exact"]
    return _RANK["acronym"] if acronym.startswith(folded) else None


def _ranks(word: str, texts: Mapping[int, str]) -> dict[int, int]:
    """Rank of each structure that has a word, or else of those that have one spelled like it."""
    found = _ranks_of(word, texts)
    if len(word) > 4 and word.endswith("s"):
        # "areas" finds every area, after those that are called "areas".
        singular = _ranks_of(word[:-1], texts)
        found = {i: max(rank, _RANK["beginnings"]) for i, rank in singular.items()} | found
    if found:
        return found
    near = (_ranks_of(other, texts) for other in _near_words(word, texts.values()))
    begun = {i for ranks in near for i, rank in ranks.items() if rank < _RANK["parts"]}
    return dict.fromkeys(begun, _RANK["spelling"])


def _ranks_of(word: str, texts: Mapping[int, str]) -> dict[int, int]:
    """Rank of each structure in whose text a word is."""
    begins = re.compile(rf"(?<![^\W_]){re.escape(word)}")
    whole = re.compile(rf"{begins.pattern}(?![^\W_])")
    ranks = {}
    for i, text in texts.items():
        if word in text:
            begun: Match = "beginnings" if begins.search(text) else "parts"
            ranks[i] = _RANK["words" if whole.search(text) else begun]
    return ranks


def _near_words(word: str, texts: Iterable[str]) -> Sequence[str]:
    if not any(map(str.isalpha, word)):
        return []  # a number, of which another is no spelling
    vocabulary = sorted({known for text in texts for known in _WORD.findall(text)})
    return difflib.get_close_matches(word, vocabulary, _NEAR_WORDS, _NEAR)
