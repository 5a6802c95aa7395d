"""Annotators in a few words, from a command line or a library call."""

from __future__ import annotations

from typing import Any

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
        (
            "clip_score,thresholds={en=0.2,other=0.1},name=x",
            "scores",
            "x",
            "clip_score",
            {"thresholds": {"en": 0.2, "other": 0.1}},
        ),
        ('words,words=["a,b=[","c"],top_k=3', "free", "free", "words", {"words": ["a,b=[", "c"], "top_k": 3}),
        ("cased,bank={,top_k=3", "free", "free", "cased", {"bank": "{,top_k=3"}),
        ("mofi,threshold=0.25", "entities", "entities", "mofi", {"threshold": 0.25}),
    ],
)
def test_words_become_settings(text: str, section: str, name: str, method: str, options: dict[str, object]) -> None:
    found = parse_annotator(text, section)
    assert (found.name, found.method, found.options) == (name, method, options)


def test_words_name_a_further_encoder() -> None:
    found = parse_annotator("words,encoder=b16,top_k=3", "free")
    assert (found.encoder, found.options) == ("b16", {"top_k": 3})


@pytest.mark.parametrize("text", ["", "cased top_k=3", "Cased", "cased,top-k=3"])
def test_what_is_no_method_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="write METHOD"):
        parse_annotator(text, "free")


def test_words_stand_beside_and_replace_what_the_config_has() -> None:
    config = Config.model_validate(
        {"free": [{"name": "free", "method": "words"}, {"name": "other", "method": "novic"}], "input": {"urls": ["/a"]}}
    )
    given = {"free": ["cased"], "scores": [{"name": "near", "method": "clip_score"}], "entities": []}
    changed = with_annotators(config, given)
    assert [(each.name, each.method) for each in changed.free] == [("other", "novic"), ("free", "cased")]
    assert [(each.name, each.method) for each in changed.scores] == [("near", "clip_score")]
    assert changed.input == config.input
    assert with_annotators(config, {"free": ()}) is config


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["cased", "words"], "two of free are named 'free'.*METHOD,name=NAME"),
        ("cased", r"free: give a list, for example free=\['METHOD'\], not 'cased'"),
        ([3], "free: give a list"),
        (3, "free: give a list"),
        ({"name": "free", "method": "cased"}, "free: give a list"),
    ],
)
def test_what_is_no_list_of_annotators_with_names_of_their_own_is_refused(given: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        with_annotators(Config(), {"free": given})
