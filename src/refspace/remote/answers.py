"""What web servers answer: where they send one to, what part of a file comes, and which version."""

import re
import urllib.error
import urllib.request
from email.message import Message
from typing import IO, Any
from urllib.parse import urlsplit

from refspace.errors import RemoteError

SCHEMES = ("http", "https")
_PAGE_STARTS = (b"<!doctype html", b"<html")
_PAGE_HEAD = 256
_BLANK = b"\xef\xbb\xbf \t\r\n"
_LENGTH = r"\d{1,18}"


class _WebOnly(urllib.request.HTTPRedirectHandler):
    """Redirects from web servers to web servers: not to files of this machine, nor to FTP."""

    def redirect_request(
        self, req: Any, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if urlsplit(newurl).scheme not in SCHEMES:
            # In the words of the library, which refuses some schemes itself.
            text = f"{msg} - Redirection to url {newurl!r} is not allowed"
            raise urllib.error.HTTPError(req.full_url, code, text, headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def web_opener() -> urllib.request.OpenerDirector:
    """Opener of URLs, through the proxies of the environment, that never leaves the web."""
    return urllib.request.build_opener(_WebOnly)


def read_piece(answer: Any, count: int) -> bytes:
    """Next bytes of an answer; whatever the system reports is a failure of the connection."""
    try:
        piece: bytes = answer.read(count)
    except OSError as error:
        raise ConnectionError(words(error)) from error
    return piece


def words(cause: object) -> str:
    """What a failure says of itself; some say nothing but their name."""
    return str(cause) or type(cause).__name__


def content_range(headers: Message) -> tuple[int, int | None]:
    """First byte of a part, -1 if not stated, and length of the whole file.

    Examples
    --------
    >>> headers = Message()
    >>> headers["Content-Range"] = "bytes 5-9/20"
    >>> content_range(headers)
    (5, 20)
    """
    text = str(headers.get("Content-Range", "")).strip()
    match = re.fullmatch(rf"bytes ({_LENGTH})-({_LENGTH})/({_LENGTH}|\*)", text)
    if match is None:
        return -1, None
    first, last, length = match.groups()
    # An open range goes to the end of the file.
    return int(first), int(last) + 1 if length == "*" else int(length)


def content_length(headers: Message) -> int | None:
    """Bytes of an answer; None if not stated."""
    text = str(headers.get("Content-Length", "")).strip()
    return int(text) if re.fullmatch(_LENGTH, text) else None


def version(headers: Message) -> str | None:
    """What tells this version of a file from others, byte for byte; weak ETags do not.

    Examples
    --------
    >>> headers = Message()
    >>> headers["ETag"] = 'W/"1"'
    >>> headers["Last-Modified"] = "Wed, 01 Nov 2017 00:00:00 GMT"
    >>> version(headers)
    'Wed, 01 Nov 2017 00:00:00 GMT'
    """
    etag = headers.get("ETag")
    strong = etag if etag and not etag.startswith("W/") else None
    return strong or headers.get("Last-Modified")


def is_page(start: bytes) -> bool:
    """Whether content begins as a page for people does.

    Examples
    --------
    >>> is_page(b" <!DOCTYPE html><html>"), is_page(b"NRRD0004")
    (True, False)
    """
    return start[:_PAGE_HEAD].lstrip(_BLANK).lower().startswith(_PAGE_STARTS)


def refuse_page(url: str, answer: Any, start: bytes) -> None:
    """Refuse a page for people, as logins and error pages are, where a file should be.

    Parameters
    ----------
    url
        Of the file.
    answer
        What the server answers.
    start
        First bytes of it.

    Raises
    ------
    RemoteError
        If it is one.
    """
    markup = start[:_PAGE_HEAD].lstrip(_BLANK).startswith(b"<")
    if is_page(start) or (markup and answer.headers.get_content_type() == "text/html"):
        raise RemoteError(
            f"{url}: the server answers with a web page where a file should be; the network wants "
            "a login, or the URL is that of a page and not of the file"
        )
