"""Annotators in a few words, from a command line or a library call."""

from __future__ import annotations

import pytest

from curator.config import Config, with_annotators
from curator.config.shorthand import parse_annotator
from curator.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "section", "name", "method", "options"),
    [
        ("cased", "free", "free", "cased", {}),
        ("clip_score", "scores", "clip_score", "clip_score", {}),
        ("cased,top_k=3,name=words_of", "free", "words_of", "cased", {"top_k": 3}),
        ("cased,bank=s3://b/a,c,evidence=true", "free", "free", "cased", {"bank": "s3://b/a,c", "evidence": True}),
        ("mofi,threshold=0.25", "entities", "entities", "mofi", {"threshold": 0.25}),
    ],
)
def test_words_become_settings(text: str, section: str, name: str, method: str, options: dict[str, object]) -> None:
    found = parse_annotator(text, section)
    assert (found.name, found.method, found.options) == (name, method, options)


@pytest.mark.parametrize("text", ["", "cased top_k=3", "Cased", "cased,top-k=3"])
def test_what_is_no_method_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="write METHOD"):
        parse_annotator(text, "free")


def test_words_stand_beside_and_replace_what_the_config_has() -> None:
    config = Config.model_validate(
        {"free": [{"name": "free", "method": "words"}, {"name": "other", "method": "novic"}], "input": {"urls": ["a"]}}
    )
    given = {"free": ["cased"], "scores": [{"name": "near", "method": "clip_score"}], "entities": []}
    changed = with_annotators(config, given)
    assert [(each.name, each.method) for each in changed.free] == [("other", "novic"), ("free", "cased")]
    assert [(each.name, each.method) for each in changed.scores] == [("near", "clip_score")]
    assert changed.input == config.input
    assert with_annotators(config, {"free": ()}) is config
