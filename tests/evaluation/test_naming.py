"""Free labels measured by clusters, words in common and meaning."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from curator.cli import app
from curator.errors import ConfigError
from curator.evaluation.naming import Naming, open_naming
from curator.evaluation.predictions import collect
from curator.evaluation.truth import read_truth
from curator.storage import open_storage
from tests.evaluation.dataset import write_output


def letters(texts: list[str]) -> NDArray[np.float64]:
    """A sentence encoder that counts letters."""
    return np.array([[text.count(letter) for letter in "abcdefghijklmnopqrstuvwxyz "] for text in texts], np.float64)


RANKED = [[("food", 0.9)], [("food", 0.8)], [("bird", 0.7)], [("bird", 0.6)], []]
TRUTH = ["dog", "dog", "bird", "cat", "cat"]


def test_measures_by_hand(tmp_path: Path) -> None:
    output = write_output(tmp_path, RANKED, TRUTH)
    _, found = collect(output, open_storage(), None, read_truth("json.label"))
    named = Naming("letters", letters)(found)
    assert named.cluster_accuracy == pytest.approx(4 / 5)  # hot dog = dog, bird = bird, none = cat
    assert named.iou.tolist() == [0.5, 0.5, 1.0, 0.0, 0.0]
    assert named.similarity is not None
    d, g = letters(["hot dog"])[0], letters(["dog"])[0]
    expected = float(d @ g / np.linalg.norm(d) / np.linalg.norm(g))
    assert named.similarity.tolist() == pytest.approx([expected, expected, 1.0, 0.0, 0.0])


def test_eval_prints_them_and_says_who_judged(tmp_path: Path) -> None:
    output = write_output(tmp_path, RANKED, TRUTH)
    arguments = ["eval", output, "--truth", "json.label", "--samples", "10", "--free"]
    judge = ["--sentences", "tests.evaluation.test_naming:letters"]
    report = json.loads(CliRunner().invoke(app, [*arguments, *judge, "--json"]).output)
    assert report["sentences"] == judge[1]
    assert report["measures"]["cluster_accuracy"]["value"] == pytest.approx(0.8)
    assert report["measures"]["semantic_iou"]["value"] == pytest.approx(0.4)
    page = CliRunner().invoke(app, [*arguments, *judge, "--out", str(tmp_path / "report")]).output
    assert f"Semantic similarity by {judge[1]}" in page
    assert "Cluster accuracy" in (tmp_path / "report" / "report.html").read_text()
    plain = json.loads(CliRunner().invoke(app, [*arguments, "--sentences", "none", "--json"]).output)
    assert "semantic_similarity" not in plain["measures"]


@pytest.mark.parametrize("source", ["nowhere", "nowhere:encode", "json:nothing", "json:__name__"])
def test_a_judge_that_cannot_be_called_is_refused(source: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"--sentences {source}"):
        open_naming(source, str(tmp_path), open_storage())
