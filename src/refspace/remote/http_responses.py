"""Responses of web servers: redirects, byte ranges, versions, and web pages in place of files."""

import re
import urllib.error
import urllib.request
from email.message import Message
from http.client import HTTPMessage, HTTPResponse
from typing import IO
from urllib.parse import urlsplit

from refspace.errors import RemoteError
from refspace.signatures import is_markup, is_web_page

SCHEMES = ("http", "https")
# At most 18 digits: any such number fits an int64, and is parsed at once.
_LENGTH = r"\d{1,18}"


class _WebOnly(urllib.request.HTTPRedirectHandler):
    """Redirects from web servers to web servers: not to files of this machine, nor to FTP.

    Nor from HTTPS to HTTP, where anyone on the way could send something else.
    """

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        scheme = urlsplit(newurl).scheme
        if scheme not in SCHEMES or (scheme == "http" and req.type == "https"):
            # The standard library refuses some schemes itself: the message is worded as its own.
            reason = f"{msg} - Redirection to url {newurl!r} is not allowed"
            raise urllib.error.HTTPError(req.full_url, code, reason, headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def web_opener() -> urllib.request.OpenerDirector:
    """Opener of URLs, through the proxies of the environment, that never leaves the web."""
    return urllib.request.build_opener(_WebOnly)


def read_piece(response: HTTPResponse, count: int) -> bytes:
    """Read the next bytes of a response; an error of the system counts as a broken connection."""
    try:
        return response.read(count)
    except OSError as error:
        # Sockets and TLS raise other OSErrors too where a connection breaks. As one class, all are
        # tried again.
        raise ConnectionError(describe(error)) from error


def describe(cause: object) -> str:
    """Message of an error, or the name of its class where the message is empty."""
    return str(cause) or type(cause).__name__


def content_range(headers: Message) -> tuple[int, int | None]:
    """First byte of a partial response, -1 if not stated, and length of the whole file.

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
    # "*": the server does not know the length. We request open ranges, which end with the file.
    return int(first), int(last) + 1 if length == "*" else int(length)


def content_length(headers: Message) -> int | None:
    """Bytes of the body of a response; None if not stated."""
    text = str(headers.get("Content-Length", "")).strip()
    return int(text) if re.fullmatch(_LENGTH, text) else None


def file_version(headers: Message) -> str | None:
    """Version of a file, equal only where all bytes are: a strong ETag, or the time of last change.

    A weak ETag (``W/"…"``) is equal for files that mean the same, so that parts of two of them need
    not fit together (RFC 9110, section 8.8.1).

    Examples
    --------
    >>> headers = Message()
    >>> headers["ETag"] = 'W/"1"'
    >>> headers["Last-Modified"] = "Wed, 01 Nov 2017 00:00:00 GMT"
    >>> file_version(headers)
    'Wed, 01 Nov 2017 00:00:00 GMT'
    """
    etag = headers.get("ETag")
    strong = etag if etag and not etag.startswith("W/") else None
    return strong or headers.get("Last-Modified")


def refuse_web_page(url: str, response: HTTPResponse, start: bytes) -> None:
    """Refuse a web page where a file should be.

    Logins of guest networks and error pages of proxies come with status 200, like a file.

    Parameters
    ----------
    url
        URL of the file.
    response
        Response of the server.
    start
        First bytes of its body.

    Raises
    ------
    RemoteError
        If the response is a web page.
    """
    if is_web_page(start) or (
        is_markup(start) and response.headers.get_content_type() == "text/html"
    ):
        raise RemoteError(
            f"{url}: the server answers with a web page where a file should be; the network wants "
            "a login, or the URL is that of a page and not of the file"
        )
