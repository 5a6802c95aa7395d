"""Owns the writing of description files by a language model behind an OpenAI-compatible endpoint; keeps its answers.

Knows no head and no run: it is never called while shards are being labelled.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal, TypeAlias

from curator.cache import cache_root, replacing
from curator.errors import ConfigError, RetryableError
from curator.labels.vocabulary import Vocabulary

Kind: TypeAlias = Literal["sentences", "descriptors", "children", "differences"]

_QUESTIONS: dict[str, tuple[str, ...]] = {
    "sentences": (
        "In one sentence, what does {article} {name} look like?",
        "In one sentence, by what can one recognise {article} {name} in a photo?",
        "Write one caption of a photo of {article} {name}.",
    ),
    "descriptors": (
        "Which visible features tell that a photo shows {article} {name}? "
        "Answer with a list, one short feature a line, without the name.",
    ),
    "children": ("List {count} common kinds of {name}, one a line, names only.",),
    "differences": (
        "What in a photo tells {article} {name} from {other_article} {other}? Answer with {count} lines, each "
        "'feature of {name} | feature of {other}'.",
    ),
}
_BULLET = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s*")
_STATUS_RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where and what to ask. ``url`` ends before ``/chat/completions``; ``key_variable`` is of the environment."""

    url: str
    model: str
    temperature: float = 0.7
    max_tokens: int = 300
    key_variable: str = "OPENAI_API_KEY"
    timeout_s: float = 60.0
    attempts: int = 4


def describe(
    vocabulary: Vocabulary,
    kind: Kind,
    endpoint: Endpoint,
    *,
    count: int = 10,
    pairs: Sequence[tuple[str, str]] | None = None,
    cache_dir: str | Path | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, Any]:
    """A description file in the form that the heads read: cupl, dclip, chils (by label) or fudd (by pair of labels).

    Every answer is kept under the digest of endpoint, model and question, so that a run that was cut off goes on and a
    second one asks nothing. ``pairs`` restricts ``differences`` (default: all pairs). Raises ConfigError where the
    endpoint refuses, RetryableError where it stays away.
    """

    def ask(question: str) -> list[str]:
        lines = answer_of(endpoint, question, cache_dir=cache_dir, sleep=sleep).splitlines()
        return [line for line in (_BULLET.sub("", line).strip() for line in lines) if line]

    if kind != "differences":
        made: dict[str, Any] = {}
        for name in vocabulary.names:
            words = {"name": name, "article": _article(name), "count": count}
            found = [line for question in _QUESTIONS[kind] for line in ask(question.format(**words))]
            made[name] = list(dict.fromkeys(line.rstrip(".") if kind != "sentences" else line for line in found))
        return made
    return dict(_difference(first, second, count, ask) for first, second in pairs or combinations(vocabulary.names, 2))


def _difference(
    first: str, second: str, count: int, ask: Callable[[str], list[str]]
) -> tuple[str, dict[str, list[str]]]:
    words = {"name": first, "article": _article(first), "other": second, "other_article": _article(second)}
    sides = [
        line.split("|", 1) for line in ask(_QUESTIONS["differences"][0].format(**words, count=count)) if "|" in line
    ]
    return f"{first}||{second}", {
        name: [f"a photo of {_article(name)} {name}, {side[place].strip().rstrip('.')}." for side in sides]
        for place, name in enumerate((first, second))
    }


def _article(name: str) -> str:
    return "an" if name[:1].lower() in "aeiou" else "a"


def answer_of(
    endpoint: Endpoint,
    question: str,
    *,
    cache_dir: str | Path | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """What the model answers, asked once: the same question has the answer that was kept. Raises as ``describe``."""
    asked = {
        "model": endpoint.model,
        "messages": [{"role": "user", "content": question}],
        "temperature": endpoint.temperature,
        "max_tokens": endpoint.max_tokens,
    }
    digest = hashlib.sha256(json.dumps([endpoint.url, asked], sort_keys=True).encode()).hexdigest()
    kept = cache_root(cache_dir) / "descriptions" / f"{digest}.json"
    if kept.is_file():
        return str(json.loads(kept.read_text(encoding="utf-8"))["answer"])
    answer = _post(endpoint, asked, sleep)
    with replacing(kept) as part:
        part.write_text(json.dumps({"question": question, "answer": answer}), encoding="utf-8")
    return answer


def _post(endpoint: Endpoint, asked: dict[str, Any], sleep: Callable[[float], None]) -> str:
    url = f"{endpoint.url.rstrip('/')}/chat/completions"
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f"endpoint {endpoint.url!r} must begin with http:// or https://")
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get(endpoint.key_variable):
        headers["Authorization"] = f"Bearer {key}"
    request = urllib.request.Request(url, json.dumps(asked).encode(), headers)
    problem = ""
    for attempt in range(endpoint.attempts):
        if attempt:
            sleep(2.0**attempt)
        try:
            with urllib.request.urlopen(request, timeout=endpoint.timeout_s) as response:
                return str(json.load(response)["choices"][0]["message"]["content"])
        except urllib.error.HTTPError as error:
            with error:
                problem = f"{error.code} {error.read(300).decode(errors='replace')}"
            if error.code not in _STATUS_RETRIED:
                raise ConfigError(f"{url} refused: {problem}; see --model and ${endpoint.key_variable}") from error
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ConfigError(f"{url} does not answer as an OpenAI-compatible endpoint does: {error!r}") from error
        except OSError as error:  # timeouts and lost connections
            problem = str(error)
    raise RetryableError(f"{url} did not answer in {endpoint.attempts} attempts: {problem}")
