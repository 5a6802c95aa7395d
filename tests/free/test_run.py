"""Free labels in a run over images and in one over its stored embeddings; from there to a vocabulary and to figures."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from curator.cli import app
from curator.config import Config
from curator.errors import ConfigError
from curator.storage import open_storage
from tests.captions.banks import units, write_bank
from tests.curation import jobs
from tests.run.jobs import LABELS, open_encoder

FREE = {"name": "free", "method": "words", "options": {"words": [*LABELS, "skies"], "top_k": 2}}
WORDS_OF_CAPTIONS = {"name": "synsets", "method": "catlip"}
VERIFY = {"name": "said", "method": "verify", "options": {"distractors": LABELS, "wins": 0.0, "template": "a {}"}}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, tiny_encoder_dir: Path) -> Config:
    """A run over three shards with label set, free labels and verified captions."""
    return jobs.make_source(
        tmp_path_factory.mktemp("free"), tiny_encoder_dir, free=[FREE, VERIFY], scores=[WORDS_OF_CAPTIONS]
    )


def curator(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_stored_embeddings_get_the_labels_that_the_images_got(source: Config, tmp_path: Path) -> None:
    config = jobs.relabel_config(source, tmp_path / "out")
    config = Config.model_validate({**config.model_dump(exclude_unset=True), "labels": [], "free": [FREE, VERIFY]})
    assert jobs.run(config).status == "complete"
    before, after = jobs.table(source.output.url), jobs.table(tmp_path / "out")
    for name in ("free", "said", "said_proposed"):
        found = [column[name].to_pylist() for column in (before, after)]
        assert [row and [_word(each) for each in row] for row in found[0]] == [
            row and [_word(each) for each in row] for row in found[1]
        ]
    assert any(before["said_proposed"].to_pylist())
    assert before["labels"].to_pylist() == after["labels"].to_pylist()


def _word(value: object) -> object:
    return value["label"] if isinstance(value, dict) else value


def test_the_free_labels_become_a_vocabulary(source: Config, tmp_path: Path) -> None:
    found = jobs.table(source.output.url)["free"].to_pylist()
    best = Counter(row[0]["label"] for row in found if row)
    both = Counter(label["label"] for row in found for label in row or ())
    for arguments, counted in (((), best), (("--ranks", 2), both)):
        curator("vocab", "from-free", source.output.url, "--label-set", "free", "--out", tmp_path / "v.json",
                "--min-count", 1, "--merge-synonyms", *arguments)  # fmt: skip
        labels = json.loads((tmp_path / "v.json").read_text())["labels"]
        names = {name for label in labels for name in (label["name"], *label.get("aliases", ()))}
        assert names == set(counted)


def test_near_words_are_merged_by_the_runs_encoder(source: Config, tmp_path: Path) -> None:
    printed = curator("vocab", "from-free", source.output.url, "--label-set", "free", "--out", tmp_path / "v.json",
                      "--min-count", 1, "--merge-cosine", 0.0)  # fmt: skip
    assert len(json.loads((tmp_path / "v.json").read_text())["labels"]) == 1
    assert f"curator relabel {source.output.url} --output NEW --vocabulary {tmp_path / 'v.json'}" in printed
    assert "1 labels in" in printed


def test_eval_knows_free_labels_of_its_own_runs(source: Config) -> None:
    printed = curator("eval", source.output.url, "--truth", "caption", "--samples", 5, "--json")
    measured = {each["label_set"]: each["measures"] for each in json.loads(printed)["label_sets"]}
    assert {"cluster_accuracy", "semantic_iou", "semantic_similarity"} <= measured["free"].keys()
    assert "cluster_accuracy" not in measured["labels"]


def test_only_what_was_made_without_a_vocabulary_is_offered_as_free(source: Config, tmp_path: Path) -> None:
    run = source.output.url

    def refused(*arguments: object) -> str:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert isinstance(result.exception, ConfigError)
        return str(result.exception)

    out = ("--out", tmp_path / "v.json")
    way = "--label-set takes one of free, said"
    assert refused("vocab", "from-free", run, *out) == f"{run}: which free labels? {way}"
    assert refused("vocab", "from-free", run, *out, "--label-set", "labels") == (
        f"{run}: 'labels' was made by labels.zero_shot: no free labels; {way}"
    )
    assert "'synsets' was made by scores.catlip: no free labels" in refused(
        "vocab", "from-free", run, *out, "--label-set", "synsets"
    )
    assert refused("vocab", "from-free", run, *out, "--label-set", "fre") == f"{run}: has no labels 'fre'; {way}"
    measured = json.loads(curator("eval", run, "--truth", "caption", "--samples", 5, "--json"))["label_sets"]
    assert [each["label_set"] for each in measured] == ["labels", "free", "said"]
    told = refused("eval", run, "--truth", "caption", "--label-set", "synsets")
    assert told == (
        f"{run}: 'synsets' was made by scores.catlip: no label set; --label-set takes one of labels, free, said"
    )


def test_a_relabelled_run_still_knows_what_made_what_it_kept(source: Config, tmp_path: Path) -> None:
    config = jobs.relabel_config(source, tmp_path / "out")
    replaced = {"name": "said", "method": "words", "options": {"words": LABELS}}
    catlip = {**WORDS_OF_CAPTIONS, "name": "free"}
    values = {**config.model_dump(exclude_unset=True), "labels": [], "free": [replaced], "scores": [catlip]}
    assert jobs.run(Config.model_validate(values)).status == "complete"
    curator("vocab", "from-free", tmp_path / "out", "--out", tmp_path / "v.json", "--min-count", 1)
    names = {each["name"] for each in json.loads((tmp_path / "v.json").read_text())["labels"]}
    assert names <= set(LABELS)


def test_a_word_that_stands_for_none_is_no_label_of_a_vocabulary(
    source: Config, tiny_encoder_dir: Path, tmp_path: Path
) -> None:
    encoder = open_encoder(f"local-dir:{tiny_encoder_dir}")
    texts = ["of the", "dogs"]
    write_bank(open_storage(), str(tmp_path / "bank"), units(2, encoder.dim), texts, encoder_digest=encoder.digest)
    config = jobs.relabel_config(source, tmp_path / "out")
    free = {"name": "free", "method": "cased", "options": {"bank": str(tmp_path / "bank"), "captions": 1}}
    values = {**config.model_dump(exclude_unset=True), "labels": [], "free": [free]}
    assert jobs.run(Config.model_validate(values)).status == "complete"
    found = {row[0]["label"] for row in jobs.table(tmp_path / "out")["free"].to_pylist() if row}
    assert found == {"object", "dog"}
    curator(
        "vocab", "from-free", tmp_path / "out", "--label-set", "free", "--out", tmp_path / "v.json", "--min-count", 1
    )
    assert json.loads((tmp_path / "v.json").read_text())["labels"] == [{"name": "dog"}]


def test_a_bank_that_changed_since_a_run_began_is_named(source: Config, tiny_encoder_dir: Path, tmp_path: Path) -> None:
    encoder = open_encoder(f"local-dir:{tiny_encoder_dir}")
    bank = tmp_path / "bank"

    def write(texts: list[str]) -> None:
        write_bank(open_storage(), str(bank), units(len(texts), encoder.dim), texts, encoder_digest=encoder.digest)

    def start(folder: Path, **options: object) -> None:
        config = jobs.relabel_config(source, tmp_path / "out")
        free = {"name": "free", "method": "cased", "options": {"bank": str(folder), **options}}
        values = {**config.model_dump(exclude_unset=True), "labels": [], "free": [free]}
        assert jobs.run(Config.model_validate(values)).status == "complete"

    write(["a red dog", "a cat"])
    start(bank)
    bank.rename(tmp_path / "moved")
    start(tmp_path / "moved")  # the same captions in another place are the same bank
    write(["a red dog", "a cat", "a house"])
    with pytest.raises(ConfigError) as caught:
        start(bank)
    told = str(caught.value)
    assert f"free.0.options.bank_digest (of {bank}) says something else" in told
    assert told.endswith("choose a new output, or bring back the old settings")
    with pytest.raises(ConfigError, match=r"free\.0\.options\.alpha was None, is 0\.5"):
        start(tmp_path / "moved", alpha=0.5)
