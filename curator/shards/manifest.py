"""Inputs (urls, braces, globs, prefixes, lists) to ordered, unique Shards. Opens no shard and knows no scheme."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Final

from curator.data import Shard
from curator.errors import ConfigError, ForbiddenError, NotFoundError
from curator.shards.braces import expand_braces
from curator.shards.pack import holds_images, is_image
from curator.storage.urls import absolute, folder_of, redact, within

if TYPE_CHECKING:
    from curator.storage.base import Storage

SHARD_SUFFIXES: Final = (".tar", ".tar.gz", ".tgz")
_MAGIC: Final = re.compile(r"[*?\[]")
PACK: Final = "make shards of images first: curator pack FOLDER --output SHARDS"
_IDLE_STEPS: Final = re.compile(r"/(?:\.?/)+")
_LIST_ABOVE: Final = 64
_HERE: Final = "./"


def expand(
    inputs: str | Sequence[str], storage: Storage | None = None, *, suffixes: tuple[str, ...] = SHARD_SUFFIXES
) -> list[Shard]:
    """The shards that ``inputs`` name: as given, and by url within a glob or prefix; each once.

    A shard is known by its url, and a local one by its absolute path: it is the same shard however it is spelled, from
    wherever. Links are not followed.

    An input is a shard's url; a pattern with braces (``{000..099}``) and globs (``*`` ``?`` ``[…]`` within a name,
    ``**`` across directories); a directory or prefix, which stands for every file below it with one of ``suffixes``; or
    ``@url`` of a list with one input a line (``#`` begins a comment), where relative paths start at the list's own
    directory. Names that begin with ``_`` or ``.`` are not looked at in a listing. A local name that is there is no
    pattern.
    Sizes and etags are known where a listing gave them, and of local files; a remote shard given by name is not asked
    for. ``storage`` is by default one for every scheme. ConfigError, with what was looked for, where an input stands
    for nothing.
    """
    if storage is None:
        from curator.storage import open_storage

        storage = open_storage()
    inputs = _texts(inputs)
    if not inputs:
        raise ConfigError("no input: give shards, a pattern such as 'shards/{000..099}.tar', a directory or @list.txt")
    found: dict[str, Shard] = {}
    for shard in _shards(inputs, storage, suffixes, listed_in=None):
        url = absolute(shard.url)
        if is_image(url):
            raise ConfigError(f"{redact(shard.url)!r} is an image, and no shard; {PACK}")
        known = found.get(url)
        if known is None or known.size is None:
            found[url] = shard if url == shard.url else replace(shard, url=url)
    return list(found.values())


def _texts(inputs: object) -> list[str]:
    """One input or several, paths as text. ConfigError for what names nothing."""
    several = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
    found = [os.fspath(each) if isinstance(each, (str, os.PathLike)) else each for each in several]
    for each in found:
        if not isinstance(each, str):
            raise ConfigError(f"{each!r:.60} names no shard; give a path or url, or a list of them")
    return [str(each) for each in found]


def _shards(
    inputs: Iterable[str], storage: Storage, suffixes: tuple[str, ...], *, listed_in: str | None
) -> Iterator[Shard]:
    for given in inputs:
        if not given.strip():
            raise ConfigError("an empty input names no shard; leave it out")
        if given.startswith("@"):
            if listed_in is not None:
                raise ConfigError(f"{given}: a list of inputs ({listed_in}) cannot hold another list")
            folder = folder_of(given[1:])
            lines = (within(folder, line, pattern=True) for line in _lines(given[1:], storage))
            yield from _shards(lines, storage, suffixes, listed_in=given)
        else:
            yield from _input(given, storage, suffixes)


def _lines(url: str, storage: Storage) -> list[str]:
    try:
        text = storage.read(url).decode("utf-8-sig")
    except (NotFoundError, ForbiddenError) as error:
        raise ConfigError(f"@{redact(url)}: the list of inputs cannot be read: {error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"@{redact(url)}: the list of inputs is not UTF-8 text ({error})") from error
    lines = [line for raw in text.splitlines() if (line := raw.strip()) and not line.startswith("#")]
    if not lines:
        raise ConfigError(f"@{redact(url)}: the list of inputs has no line that names a shard")
    return lines


def _input(given: str, storage: Storage, suffixes: tuple[str, ...]) -> Iterator[Shard]:
    """The shards of one input; neighbours of one kind are looked up together, so that a directory is listed once."""
    if _is_local(given):
        given = _IDLE_STEPS.sub("/", given.removeprefix("file://"))
        if (_MAGIC.search(given) or "{" in given) and os.path.exists(given):  # a name that is there is no pattern
            yield from _existing(given, storage, suffixes)
            return
    for place, names in groupby(expand_braces(given), key=lambda url: _place(url, suffixes)):
        if place is None:
            yield from _named(list(names), given, storage)
        else:
            yield from _listed(place, list(names), given, storage, suffixes)


def _existing(path: str, storage: Storage, suffixes: tuple[str, ...]) -> Iterator[Shard]:
    """The shards of a local file or directory whose name looks like a pattern."""
    if os.path.isdir(path):
        below = [within(f"{path.rstrip('/')}/", f"**{suffix}", pattern=True) for suffix in suffixes]
        yield from _listed(f"{path.rstrip('/')}/", below, path, storage, suffixes)
    else:
        yield from _named([path], path, storage)


def _place(url: str, suffixes: tuple[str, ...]) -> str | None:
    """The prefix under which ``url`` must be looked for, or None if it is the url of one shard."""
    if url.startswith(("http://", "https://")):
        return None
    if magic := _MAGIC.search(url):
        return url[: magic.start()]
    return None if url.lower().endswith(suffixes) else f"{url.rstrip('/')}/"


def _named(urls: list[str], given: str, storage: Storage) -> Iterator[Shard]:
    for folder, group in groupby(urls, key=lambda url: url[: url.rfind("/") + 1]):
        names = list(group)
        if not _is_local(folder):
            yield from map(Shard, names)
            continue
        entries = {entry.url: entry for entry in storage.list(folder)} if folder and len(names) > _LIST_ABOVE else {}
        for url in names:
            try:
                entry = entries.get(url) or storage.stat(url)
            except (NotFoundError, ForbiddenError) as error:
                hint = " (braces need a comma or a range: {a,b} or {0..9})" if "{" in url else ""
                origin = "" if url == given else f", named by {given!r},"
                raise ConfigError(f"shard {url!r}{origin} cannot be read: {error}{hint}") from error
            yield Shard(url, entry.size, entry.etag)


def _listed(
    place: str, patterns: list[str], given: str, storage: Storage, suffixes: tuple[str, ...]
) -> Iterator[Shard]:
    wanted = re.compile("|".join(_regex(pattern, suffixes) for pattern in patterns), re.DOTALL)
    folder = place.rfind("/") + 1
    nothing = True
    for entry in storage.list(place or _HERE):
        url = entry.url if place else entry.url.removeprefix(_HERE)
        if wanted.fullmatch(url) and not _is_hidden(url[folder:]):
            nothing = False
            yield Shard(url, entry.size, entry.etag)
    if nothing:
        files = f"*{', *'.join(suffixes[:-1])} or *{suffixes[-1]}"
        what = f"{redact(given)!r} as a pattern" if _MAGIC.search(given) else f"{files} below {redact(place)!r}"
        hint = PACK if holds_images(given, storage) else "check the spelling"
        raise ConfigError(f"{redact(given)!r} stands for no shard: looked for {what} and found none; {hint}")


def _regex(pattern: str, suffixes: tuple[str, ...]) -> str:
    if not _MAGIC.search(pattern):
        below = re.escape(f"{pattern.rstrip('/')}/")
        return f"{below}.*(?i:{'|'.join(map(re.escape, suffixes))})"
    parts = []
    position = 0
    while position < len(pattern):
        rest = pattern[position:]
        if rest.startswith("**/"):
            parts.append("(?:.*/)?")
            position += 3
        elif rest.startswith("**"):
            parts.append(".*")
            position += 2
        elif rest[0] in "*?":
            parts.append("[^/]*" if rest[0] == "*" else "[^/]")
            position += 1
        elif match := re.match(r"\[([!^]?)(\]?[^\]/]*)\]", rest):
            inside = match[2].replace("\\", r"\\").replace("[", r"\[").replace("]", r"\]").replace("&&", r"&\&")
            parts.append(f"[{'^/' if match[1] else ''}{inside}]")
            position += match.end()
        else:
            parts.append(re.escape(rest[0]))
            position += 1
    try:
        re.compile("".join(parts))
    except re.error as error:
        raise ConfigError(f"{pattern!r} is no pattern: {error}") from error
    return f"(?:{''.join(parts)})"


def _is_hidden(path: str) -> bool:
    return any(name.startswith(("_", ".")) for name in path.split("/"))


def _is_local(folder: str) -> bool:
    return "://" not in folder or folder.startswith("file://")
