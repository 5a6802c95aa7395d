"""Where the paths of settings start: with the file that names them, or with who types them; never with a process."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from curator.config import Config, load_config
from curator.config.places import OPTION_FILES
from curator.engine.annotations import METHODS
from curator.engine.compose import plan_worker
from curator.labels.heads import HEADS
from curator.labels.templates import TEMPLATE_SETS

NAME_NO_FILE = {
    "labels": {
        "alphabet", "aggregate", "append", "beta", "bias", "decay", "distance", "evidence", "infer", "inner", "k", "m",
        "main", "margin", "mode", "name_weight", "pattern", "precision", "relative", "scale", "seed", "steps", "sums",
        "temperature", "use", "with_templates",
    },
    "free": {
        "alpha", "beam", "captions", "cells", "evidence", "exact", "length_exponent", "mapped", "min_score",
        "neighbours", "pos", "split", "tau", "temperature", "template", "texts", "top_k", "unguided", "wins",
    },
    "entities": {
        "beta", "bank", "descriptions", "id", "keep", "lat", "lon", "max_caption_chars", "max_mentions", "mentions",
        "most_candidates", "ner_labels", "region_name", "threshold", "top_k",
        "exemplars_digest", "gazetteer_digest", "regions_digest",
    },
    "scores": {
        "encoder_digest", "language", "languages", "max_words", "min_language_score", "output", "t", "threshold",
        "thresholds", "vocabulary_size",
    },
}  # fmt: skip


def test_every_option_of_every_method_is_known_to_name_a_file_or_not() -> None:
    """A new option that names a file belongs into ``OPTION_FILES``, or its paths would start where nobody looks."""
    for section, methods in {"labels": HEADS, **METHODS}.items():
        options = {option for method in methods.values() for option in method.OPTIONS}
        assert options - NAME_NO_FILE[section] <= OPTION_FILES[section], section
        assert not NAME_NO_FILE[section] & OPTION_FILES[section], section


SETTINGS = """
[input]
urls = ["shards/{0..1}.tar", "@lists/all.txt", "/data/*.tar", "s3://b/c.tar"]
[output]
url = "../out"
[encoder]
name = "local-dir:encoder"
cache_dir = "~/cache"
[[encoders]]
name = "b"
encoder = "ViT-B-32"
pretrained = "weights/b.pt"
[[labels]]
vocabulary = "labels.txt"
templates = "templates.txt"
head = "cupl"
options = { descriptions = "cupl.json", scale = 3.0 }
abstain = { score = "neglabel", words = "nouns.txt" }
[[labels]]
name = "style"
vocabulary = "builtin:style"
templates = "simple"
options = { thresholds = { photo = 0.5 } }
[[free]]
name = "free"
method = "words"
options = { words = "wordnet", bank = "embedded" }
[[free]]
name = "mine"
method = "cased"
options = { bank = "s3://b/bank", words = ["a", "b"] }
[[entities]]
name = "entities"
method = "mofi"
options = { gazetteer = "g.gazetteer", descriptions = true, ner = "spacy:en_core_web_sm" }
"""


@pytest.mark.parametrize("relative", [False, True])
def test_paths_in_a_file_start_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, relative: bool) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs/run.toml").write_text(SETTINGS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PWD", str(tmp_path))
    config = load_config("jobs/run.toml" if relative else tmp_path / "jobs/run.toml")
    jobs = f"{tmp_path}/jobs"
    assert config.input.urls == (f"{jobs}/shards/{{0..1}}.tar", f"@{jobs}/lists/all.txt", "/data/*.tar", "s3://b/c.tar")
    assert config.output.url == f"{tmp_path}/out"
    assert config.encoder.name == f"local-dir:{jobs}/encoder"
    assert config.encoder.cache_dir == os.path.expanduser("~/cache")
    assert config.encoders[0].pretrained == f"{jobs}/weights/b.pt"
    first, style = config.labels
    assert (first.vocabulary, first.templates) == (f"{jobs}/labels.txt", f"{jobs}/templates.txt")
    assert first.options == {"descriptions": f"{jobs}/cupl.json", "scale": 3.0}
    assert first.abstain == {"score": "neglabel", "words": f"{jobs}/nouns.txt"}
    assert (style.vocabulary, style.templates) == ("builtin:style", "simple")
    assert style.options == {"thresholds": {"photo": 0.5}}
    assert [each.options for each in config.free] == [
        {"words": "wordnet", "bank": "embedded"},
        {"bank": "s3://b/bank", "words": ["a", "b"]},
    ]
    entities = config.entities[0].options
    assert entities == {"gazetteer": f"{jobs}/g.gazetteer", "descriptions": True, "ner": "spacy:en_core_web_sm"}


def test_what_is_typed_starts_where_it_is_typed_whatever_the_file_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs/run.toml").write_text(SETTINGS)
    monkeypatch.chdir(tmp_path)
    config = load_config(
        "jobs/run.toml",
        overrides=["labels.0.vocabulary=mine.txt", "labels.0.options.descriptions=d.json", "encoder.name=local-dir:e"],
        values={"input": {"urls": [Path("in"), "~/more"]}, "output": {"url": Path("there")}},
    )
    assert config.labels[0].vocabulary == f"{tmp_path}/mine.txt"
    assert config.labels[0].options["descriptions"] == f"{tmp_path}/d.json"
    assert config.labels[0].templates == f"{tmp_path}/jobs/templates.txt"
    assert config.encoder.name == f"local-dir:{tmp_path}/e"
    assert config.input.urls == (f"{tmp_path}/in", os.path.expanduser("~/more"))
    assert config.output.url == f"{tmp_path}/there"


def test_encoders_and_caches_of_settings_at_a_url_are_local() -> None:
    content = b"[output]\nurl = 'out'\n[encoder]\nname = 'local-dir:e'\ncache_dir = 'cache'"
    config = load_config("s3://bucket/jobs/run.toml", read=lambda _: content)
    assert config.output.url == "s3://bucket/jobs/out"
    assert (config.encoder.name, config.encoder.cache_dir) == (f"local-dir:{os.getcwd()}/e", f"{os.getcwd()}/cache")


@pytest.mark.parametrize("name", TEMPLATE_SETS)
def test_the_name_of_a_template_set_is_no_path(tmp_path: Path, name: str) -> None:
    (tmp_path / "run.toml").write_text(f"[[labels]]\nvocabulary = 'a'\ntemplates = '{name}'")
    assert load_config(tmp_path / "run.toml").labels[0].templates == name


def settings(folder: Path, **encoder: Any) -> Config:
    return load_config(
        values={
            "input": {"urls": [f"{folder}/a.tar"]},
            "output": {"url": f"{folder}/out"},
            "encoder": encoder,
            "labels": [
                {
                    "vocabulary": f"{folder}/labels.txt",
                    "templates": f"{folder}/t.txt",
                    "head": "cupl",
                    "options": {"descriptions": f"{folder}/d.json"},
                }
            ],
            "free": [{"name": "free", "method": "novic", "options": {"decoder": f"{folder}/decoder"}}],
            "scores": [{"name": "clip", "method": "metaclip", "options": {"metadata": f"{folder}/entries.txt"}}],
        }
    )


def test_the_same_files_in_another_place_are_the_same_run(tmp_path: Path) -> None:
    digests = set()
    for name in ("here", "there"):
        folder = tmp_path / name
        folder.mkdir()
        contents = {
            "labels.txt": "dog\n",
            "t.txt": "a {}\n",
            "d.json": '{"dog": ["it barks"]}',
            "entries.txt": "dog\n",
            "decoder": "x",
        }
        for file, content in contents.items():
            (folder / file).write_text(content)
        digests.add(plan_worker(settings(folder, name=f"local-dir:{folder}/e")).config_digest)
        digests.add(plan_worker(settings(folder, name=f"local-dir:{folder}/other")).config_digest)
    assert len(digests) == 1  # of local weights a run knows the digest
    (tmp_path / "there/entries.txt").write_text("cat\n")
    digests.add(plan_worker(settings(tmp_path / "there", name="local-dir:e")).config_digest)
    (tmp_path / "there/decoder").write_text("y")
    digests.add(plan_worker(settings(tmp_path / "there", name="local-dir:e")).config_digest)
    digests.add(plan_worker(settings(tmp_path / "there", name="embedded")).config_digest)
    assert len(digests) == 4
