"""Urls as text: their scheme, joining names to them, hiding their secrets. Owns no connection and reads nothing."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from urllib.parse import urlsplit, urlunsplit

from curator.errors import ConfigError

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_UNTIDY = re.compile(r"//|/\.{0,2}(?=/|$)")
_GLOB = re.compile(r"[*?\[]")
_BROKEN = re.compile(r"(s3|gs|gcs|az|abfs|https?|file|memory)(:/?|//)(?!/)", re.IGNORECASE)
_COMMAND = re.compile(r"(pipe|data|javascript):", re.IGNORECASE)
_CHAIN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*::")
_SIGNATURE = re.compile(
    r"[?&](x-(amz|goog)-(signature|credential|security-token)|signature|sig|\w*token|api_?key|password|secret)=",
    re.IGNORECASE,
)
_IN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]*[@?][^\s'\"<>]*")
_QUERY_VALUE = re.compile(r"=[^&;]*")


def scheme_of(url: str) -> str:
    """The scheme in lower case; ``file`` for a plain path.

    Raises ConfigError for what is neither: an empty url, a command (``pipe:``) and fsspec's chained urls.
    """
    if not url:
        raise ConfigError("an empty url names nothing; give a path or a url such as s3://bucket/prefix/")
    if _COMMAND.match(url):
        raise ConfigError(
            f"{url.split(':', 1)[0]}: urls are never run or decoded; give the object's own url (s3://...)"
        )
    if _CHAIN.match(url):
        raise ConfigError(f"{redact(url)}: chained urls are not supported; give the object's own url")
    match = _SCHEME.match(url)
    return match[1].lower() if match else "file"


def is_remote(url: str) -> bool:
    """Whether reading the object waits for a network, so that reading ahead pays."""
    return scheme_of(url) not in ("file", "memory")


def is_path(url: str) -> bool:
    """Whether it names a local file, as far as the text tells: not what another scheme or a command begins.

    ConfigError for ``s3:/bucket``, which could only be meant as a url.
    """
    match = _SCHEME.match(url)
    if match is None and (broken := _BROKEN.match(url)):
        rest = url[broken.end() :].lstrip("/")
        raise ConfigError(f"{url}: is neither a path nor a url; a url would be {broken[1].lower()}://{rest}")
    if match is not None:
        return match[1].lower() == "file"
    return bool(url) and not (_COMMAND.match(url) or _CHAIN.match(url))


def absolute(url: str) -> str:
    """The one name of a local file, from wherever it is said: absolute, without ``.``, ``//`` and ``file://``.

    Links are not followed: a file and a link to it are two. Urls of other schemes stay as they are.
    """
    match = _SCHEME.match(url)
    if not is_path(url):
        return url
    path = url[match.end() :] if match else os.path.expanduser(url)
    if not path.startswith("/"):
        path = f"{here()}/{path}"
    if not _UNTIDY.search(path):
        return path
    steps: list[str] = []
    for step in path.split("/"):
        if step == ".." and steps[-1:] != [".."] and not os.path.islink("/" + "/".join(steps)):
            steps = steps[:-1]
        elif step not in ("", "."):  # ".." behind a link leads elsewhere than one step back: it stays
            steps.append(step)
    return "/" + "/".join(steps)


def folder_of(url: str) -> str:
    """The directory or prefix of a file that names others; "", the working directory, for a pipe: it lies nowhere."""
    bare = url.partition("?")[0] if url.startswith(("http://", "https://")) else url
    return "" if bare.startswith(("/dev/", "/proc/")) else bare[: bare.rfind("/") + 1]


def within(folder: str, url: str, *, pattern: bool = False) -> str:
    """What ``url`` means in a file that lies in ``folder``: a relative path starts there, all else is as it is.

    A ``pattern`` may hold globs, and ``folder`` is no part of them; ``@url`` of a list is a pattern, too.
    """
    if pattern and url.startswith("@"):
        return f"@{within(folder, url[1:])}"
    if url.startswith(("/", "~", "file://")) or not is_path(url):
        return url
    if not is_path(folder or "."):  # objects have no "." and ".."
        while step := re.match(r"\.{1,2}/+", url):
            url = url[step.end() :]
            if step[0].startswith("..") and folder.count("/") > 3:
                folder = folder[: folder[:-1].rfind("/") + 1]
    if pattern and not folder.startswith(("http://", "https://")):
        folder = _GLOB.sub(r"[\g<0>]", folder)
    return f"{folder}{url}"


def here() -> str:
    """The working directory by the name that the user knows it by, which the shell keeps: it may lead through links."""
    known = os.environ.get("PWD", "")
    with suppress(OSError):
        if os.path.isabs(known) and os.path.samefile(known, "."):
            return known
    return os.getcwd()


def refuse_secrets(url: str) -> None:
    """ConfigError for a url with a password or signature in it: a shard's url stands in every row, receipt and log."""
    match = _SCHEME.match(url)
    if match is None or not ("@" in url or "?" in url):
        return
    if redact(url).startswith(f"{match[1]}://***@") or _SIGNATURE.search(url):
        raise ConfigError(
            f"{redact(url)}: holds a password or a signature, which would be written into rows and records; give "
            "the object's own url (s3://...) and let its credentials be found where they are kept"
        )


def join(base_url: str, *names: str) -> str:
    """``base_url`` and ``names`` with exactly one slash between them; a base that ends in a slash keeps its meaning."""
    url = base_url
    for name in names:
        url = f"{url}{name}" if url.endswith("/") else f"{url}/{name}"
    return url


def redact(url: str) -> str:
    """The url without user info and, where it has a query (http, https), without the query's values: fit for a log."""
    match = _SCHEME.search(url)
    if match is None:
        return url
    before, url = url[: match.start()], url[match.start() :]
    return before + _redact(match[1].lower(), url)


def _redact(scheme: str, url: str) -> str:
    if scheme in ("http", "https"):
        try:
            parts = urlsplit(url)
        except ValueError:
            return f"{scheme}://***"
        host = parts.netloc.rpartition("@")
        netloc = f"***@{host[2]}" if host[1] else parts.netloc
        return urlunsplit(parts._replace(netloc=netloc, query=_QUERY_VALUE.sub("=***", parts.query), fragment=""))
    authority, slash, rest = url[len(scheme) + 3 :].partition("/")
    user, at, host_name = authority.rpartition("@")
    # az://container@account is an address; only what has a colon can hold a password
    return f"{scheme}://***@{host_name}{slash}{rest}" if at and ":" in user else url


def redact_text(text: str) -> str:
    """``text`` with the secrets of every url in it hidden: what may stand in a log whoever wrote the message."""
    return _IN_TEXT.sub(lambda found: redact(found[0]), text) if "://" in text else text
