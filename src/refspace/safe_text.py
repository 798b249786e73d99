r"""Texts that are safe to keep and to show: URLs without secrets, names without control characters.

What a URL holds beside the place that it names may be a secret: the user's name and password, and
the query, which is often a signature or a token. Stores, tables and logs are passed on, and so are
messages; none of them holds it. Of a query, what says only which version is meant is kept.

Names and provenance come from whoever made an atlas. A terminal obeys control characters: they can
set its title, hide a line, or show text in another order. They are shown as Python writes them,
like ``\x1b``.
"""

import functools
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote

# Parameters of queries that give access to nothing: they say what is meant.
_HARMLESS = frozenset({"q", "v", "version", "versionid", "generation"})
# Parameters that grant access: the same object has others at another time, or for another user.
_GRANT = re.compile(
    r"(?i)x-(amz|goog)-.*|.*(token|secret|signature|credential|password|passwd|auth|apikey).*"
    r"|.*key|sig|pwd|pass|code|expires|policy|googleaccessid|awsaccesskeyid"
    # Of a shared access signature of Azure, except "sv", which others take for a version.
    r"|s[eiprtv]|sdd|spr|ske|skt|sks|skv|skoid|sktid|saoid|suoid|scid"
)
# A URL that was taken for a path has lost a slash; one letter is a drive.
_AFTER_PROTOCOL = r"(?:(?<=://)|(?<=[\w+.-][\w+.-]:/)(?!/))"
# User name and password, up to the last @ of the host. The second form is of passwords with signs
# that a URL does not allow there; a number before them is a port.
_USER = re.compile(
    _AFTER_PROTOCOL + r"(?:[^\s/?#]*@|(?!\[)[^\s/?#@:]+:(?!\d*(?:[/?#\s]|$))[^\s@]*@)"
)
# A query or fragment, to the end of its URL: of a chain of URLs, another may follow.
_QUERY = re.compile(
    _AFTER_PROTOCOL + r"((?:(?!::[\w+.-]+://)[^\s?#])*)([?#])((?:(?!::[\w+.-]+://)\S)*)"
)
# The same where a blank in the path has ended the URL: after one, in any text with a URL before it.
_QUERY_AFTER_BLANK = re.compile(r"(?<=\s)([^\s?#]*)([?#])([\w.%~+-]+=\S*)")
_PARAMETER_AFTER_BLANK = re.compile(r"[&;]([\w.%~+-]+=[^\s&;]*)")
# What ends a sentence or a quotation, rather than a URL.
_AFTER = re.compile(r"['\")\]}>,.;:]*$")
# Control characters; marks that change the direction of what follows; separators of lines; halves
# of characters, which no encoding has.
_CONTROL = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
_SURROGATE = re.compile("[\ud800-\udfff]")
# Options of file systems that are no secrets, whatever they hold.
_OPEN_OPTIONS = frozenset({"endpoint_url", "region_name", "endpoint", "region", "protocol"})
_SHORTEST_SECRET = 4


def without_secrets(text: str) -> str:
    """Path, URL, or text with URLs in it, without user names, passwords and queries.

    Parameters of a query that are known to give no access, like ``v=2``, are kept.

    Examples
    --------
    >>> without_secrets("https://me:secret@host/a.zarr?token=1&v=2"), without_secrets("a?.nrrd")
    ('https://host/a.zarr?v=2', 'a?.nrrd')
    >>> without_secrets("'simplecache::https://me@host/a.zarr?sig=1' is gone")
    "'simplecache::https://host/a.zarr' is gone"
    """
    if ":/" not in text:
        return text
    return _without_late_queries(_QUERY.sub(_without_query, _USER.sub("", text)), _is_unknown)


def _without_late_queries(text: str, is_left_out: Callable[[str], bool]) -> str:
    """Text without the queries of URLs that have blanks in their paths."""
    before, sign, after = text.partition(":/")
    without = functools.partial(_without_query, is_left_out=is_left_out)
    after = _QUERY_AFTER_BLANK.sub(without, after)
    return before + sign + _PARAMETER_AFTER_BLANK.sub(_without_grant, after)


def _late_queries(text: str) -> "Iterator[re.Match[str]]":
    return _QUERY_AFTER_BLANK.finditer(text.partition(":/")[2])


def _without_grant(match: "re.Match[str]") -> str:
    return "" if _grants(match[1]) else match[0]


def _is_unknown(parameter: str) -> bool:
    """Whether a parameter of a query, ``name=value``, may grant access."""
    return parameter.partition("=")[0].lower() not in _HARMLESS


def _grants(parameter: str) -> bool:
    """Whether a parameter has a name of those that grant access."""
    return grants_access(parameter.partition("=")[0])


def grants_access(name: str) -> bool:
    """Whether a parameter or option of this name is one that grants access.

    Examples
    --------
    >>> [grants_access(name) for name in ("secret", "aws_session_token", "anon", "region")]
    [True, True, False, False]
    """
    return _GRANT.fullmatch(name) is not None


def _without_query(match: "re.Match[str]", is_left_out: Callable[[str], bool] = _is_unknown) -> str:
    """URL without some parameters of its query."""
    place, sign, query = match.groups()
    after = _AFTER.search(query)
    rest = "" if after is None else after[0]
    query = query[: len(query) - len(rest)]
    if sign == "#" and "=" not in query and "?" not in query:
        return f"{place}#{query}{rest}"  # part of a name, in the object stores of clouds
    kept = [part for part in re.split("[&;#?]", query) if not is_left_out(part)]
    return f"{place}{sign}{'&'.join(kept)}{rest}" if any(kept) else f"{place}{rest}"


def without_secrets_in(values: Mapping[str, Any]) -> dict[str, Any]:
    """JSON values of which no text holds a user name, a password or what grants access.

    Other queries stay: of what is kept on purpose, like the address of a page, they are a part.

    Examples
    --------
    >>> without_secrets_in({"source": "https://me:secret@host/a?token=1", "see": ["https://h/?p=5"]})
    {'source': 'https://host/a', 'see': ['https://h/?p=5']}
    """
    return {name: _granting_nothing(value) for name, value in values.items()}


def _granting_nothing(value: Any) -> Any:
    if isinstance(value, str) and ":/" in value:
        without = functools.partial(_without_query, is_left_out=_grants)
        return _without_late_queries(_QUERY.sub(without, _USER.sub("", value)), _grants)
    if isinstance(value, list | tuple):
        return type(value)(map(_granting_nothing, value))
    return without_secrets_in(value) if isinstance(value, dict) else value


def url_identity(url: str) -> str:
    """Text without secrets that differs between URLs, unless they differ in what grants access.

    It can be stored: what is no text in the name of a file is escaped.

    A signature is another one each time, of the same object. What else `without_secrets` leaves
    out stands there as a digest; passwords are left out of that too, which might be guessed.

    Examples
    --------
    >>> url_identity("https://me:secret@host/a.zarr?sig=1")
    'https://host/a.zarr'
    >>> url_identity("https://host/a?part=1") == url_identity("https://host/a?part=2")
    False
    """
    url = _SURROGATE.sub(_escape, url)
    shown = without_secrets(url)
    if shown == url:
        return url
    plain = _USER.sub("", url)
    others = [p for p in re.split(r"[?&;#]", plain)[1:] if _is_unknown(p) and not _grants(p)]
    if not others:
        return shown
    return f"{shown} sha256:{hashlib.sha256('&'.join(others).encode()).hexdigest()[:16]}"


def secrets_in(text: str) -> dict[str, list[str]]:
    """What `without_secrets` leaves out of a URL, in its parts, as an option of `without_values`.

    Errors of other libraries may tell a part of a URL, as it stands there or decoded.

    Examples
    --------
    >>> secrets_in("https://me:secr%21t@host/a.zarr?token=12345")["url"]
    ['secr%21t', 'secr!t', '12345']
    """
    users = [match[0] for match in _USER.finditer(text)]
    plain = _USER.sub("", text)
    queries = [match[3] for match in (*_QUERY.finditer(plain), *_late_queries(plain))]
    queries += [m[1] for m in _PARAMETER_AFTER_BLANK.finditer(plain) if _grants(m[1])]
    parts = [part for user in users for part in re.split(r"[:/@?#]", user)]
    parts += [
        part.partition("=")[2]
        for query in queries
        for part in re.split("[&;#?]", query)
        if _is_unknown(part)
    ]
    parts = [form for part in parts for form in (part, unquote(part))]
    return {"url": [part for part in dict.fromkeys(parts) if len(part) >= _SHORTEST_SECRET]}


def without_values(text: str, options: Mapping[str, Any]) -> str:
    """Text in which no value of some options stands, such as credentials.

    Examples
    --------
    >>> without_values("no user AKIA, says host", {"key": "AKIA", "endpoint_url": "host"})
    'no user …, says host'
    """
    for value in sorted(set(_values(options)), key=len, reverse=True):
        text = text.replace(value, "…")
    return text


def places_in(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of some options that say where something is, and no others, such as credentials.

    Examples
    --------
    >>> places_in({"key": "AKIA", "client_kwargs": {"endpoint_url": "https://host"}})
    {'client_kwargs': {'endpoint_url': 'https://host'}}
    """
    kept = {
        name: places_in(value) if isinstance(value, Mapping) else value
        for name, value in options.items()
        if isinstance(value, Mapping) or name in _OPEN_OPTIONS
    }
    return {
        name: url_identity(value) if isinstance(value, str) else value
        for name, value in kept.items()
        if value not in ({}, None)
    }


def _values(options: Mapping[str, Any]) -> Iterator[str]:
    """Texts among the values of options, however deep."""
    for name, value in options.items():
        for item in value if isinstance(value, list | tuple) else [value]:
            if isinstance(item, Mapping):
                yield from _values(item)
            elif name not in _OPEN_OPTIONS and _is_long(item):
                yield item


def _is_long(value: Any) -> bool:
    """Whether a value is a text that can be told from words of a message."""
    return isinstance(value, str) and len(value) >= _SHORTEST_SECRET


def escaped(text: str, keep: str = "") -> str:
    r"""Text whose control characters are shown, and not obeyed.

    Parameters
    ----------
    text
        The text.
    keep
        Control characters that are meant.

    Examples
    --------
    >>> print(escaped("VISp\x1b[2J\u202e\n"))
    VISp\x1b[2J\u202e\n
    """
    return _CONTROL.sub(lambda match: match[0] if match[0] in keep else _escape(match), text)


def _escape(match: "re.Match[str]") -> str:
    return repr(match[0])[1:-1]


def shown(text: str) -> str:
    r"""Message without secrets and control characters; its lines stay.

    Examples
    --------
    >>> shown("https://me:secret@host is\nno \x07 store")
    'https://host is\nno \\x07 store'
    """
    return escaped(without_secrets(text), "\n\t")


def has_surrogate(text: str) -> bool:
    r"""Whether a text has half a character, which no file can hold.

    JSON can state such, and Python reads file names so that are no text.

    Examples
    --------
    >>> has_surrogate("cortex \ud83e"), has_surrogate("cortex \U0001f9e0")
    (True, False)
    """
    return _SURROGATE.search(text) is not None
