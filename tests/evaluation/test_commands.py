"""From a run's output to reports and fitted files, by the commands, on the tiny encoder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from curator.cli import app
from curator.errors import ConfigError
from curator.labels.heads import HEADS
from tests.run.jobs import LABELS, job_config, local_fleet, write_shards


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_encoder_dir: Path) -> Path:
    """The output of a run of two shards beside its labels.txt, and a truth.csv that deals the labels out in turn."""
    from curator.engine.run import label

    folder = tmp_path_factory.mktemp("measured")
    write_shards(folder / "shards", 2)
    config = job_config(folder / "shards", tiny_encoder_dir, folder / "out")
    label(config, fleet=local_fleet(config))
    rows = [f"{number:06d},{LABELS[number % len(LABELS)]}" for number in range(12)]
    (folder / "truth.csv").write_text("\n".join(["key,label", *rows]) + "\n")
    return folder


def curator(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_eval_writes_json_and_a_page(run: Path, tmp_path: Path) -> None:
    truth = run / "truth.csv"
    printed = curator("eval", run / "out", "--truth", truth, "--samples", 50, "--out", tmp_path / "report", "--json")
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert json.loads(printed) == report
    assert report["rows"] == 20
    assert report["left_out"] == {"rejected": 4, "without truth": 0}
    assert 0 <= report["measures"]["top1"]["low"] <= report["measures"]["top1"]["value"]
    assert "<svg" in (tmp_path / "report" / "report.html").read_text()
    assert "Top-1" in curator("eval", run / "out", "--truth", truth, "--samples", 10)


def test_ablation_sets_heads_side_by_side(run: Path, tmp_path: Path) -> None:
    descriptions = tmp_path / "descriptions.json"
    descriptions.write_text(json.dumps({name: [f"{name} with legs", f"a small {name}"] for name in LABELS}))
    printed = curator(
        "eval", run / "out", "--truth", run / "truth.csv", "--samples", 10, "--json",
        "--ablate", descriptions, "--vocabulary", run / "labels.txt",
    )  # fmt: skip
    rows = json.loads(printed)["ablation"]
    assert [row["head"] for row in rows] == [head for head in ("zero_shot", "dclip", "cupl", "waffle") if head in HEADS]
    assert all(row["rows"] == 20 for row in rows)
    with pytest.raises(ConfigError, match="give --vocabulary"):
        curator("eval", run / "out", "--truth", run / "truth.csv", "--ablate", descriptions)


def test_what_is_fitted_can_be_used(run: Path, tmp_path: Path) -> None:
    known = ("--vocabulary", run / "labels.txt")
    truth = ("--truth", run / "truth.csv")
    fitted = json.loads(curator("calibrate", "temperature", run / "out", *known, *truth, "--json"))
    assert fitted["nll_after"] <= fitted["nll_before"]
    (tmp_path / "groups.json").write_text(json.dumps({"animals": ["dog", "cat"], "things": ["house", "tree"]}))
    curator(
        "calibrate", "groups", run / "out", *known, *truth, "--groups", tmp_path / "groups.json",
        "--first", "animals", "--out", tmp_path / "bias.json",
    )  # fmt: skip
    swept = json.loads((tmp_path / "bias.json").read_text())
    assert swept["group_bias"] == {"animals": swept["best"]["bias"]}
    curator("calibrate", "thresholds", run / "out", *known, "--out", tmp_path / "thresholds.json", "--percentile", 50)
    curator("calibrate", "hubs", run / "out", *known, "--out", tmp_path / "hubs.json", "--nearest", 5)
    config = tmp_path / "heads.toml"
    config.write_text(
        f"""
        [[labels]]
        name = "tags"
        vocabulary = "{run / "labels.txt"}"
        head = "tags"
        options = {{thresholds = "{tmp_path / "thresholds.json"}"}}
        [[labels]]
        name = "level"
        vocabulary = "{run / "labels.txt"}"
        head = "calibrated"
        options = {{offsets = "{tmp_path / "hubs.json"}", groups = "{tmp_path / "groups.json"}"}}
        abstain = {{score = "entropy", threshold = 0.99}}
        """
    )
    curator(
        "relabel", run / "out", "--output", tmp_path / "again", "--config", config, "--set", "run.reject_budget=0.5"
    )
    report = json.loads(curator("eval", tmp_path / "again", "--label-set", "level", *truth, "--samples", 5, "--json"))
    assert set(report["selective"]["curves"]) == {"score", "ood"}
    kept = json.loads(curator("eval", tmp_path / "again", "--label-set", "tags", *truth, "--samples", 5, "--json"))
    given = sum(each["given"] for each in kept["per_label"])
    assert given > 0


def test_prompt_search_writes_templates(run: Path, tmp_path: Path) -> None:
    printed = curator(
        "prompts", "search", run / "out", "--vocabulary", run / "labels.txt", "--truth", run / "truth.csv",
        "--out", tmp_path / "templates.txt", "--rounds", 2,
    )  # fmt: skip
    assert "did not see" in printed
    templates = (tmp_path / "templates.txt").read_text().splitlines()
    assert templates
    assert all(template.count("{}") == 1 for template in templates)


def test_several_label_sets_are_set_side_by_side(run: Path, tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text("\n".join(reversed(LABELS)) + "\n")
    (tmp_path / "heads.toml").write_text(
        f'[[labels]]\nname = "other"\nvocabulary = "{tmp_path / "other.txt"}"\ntemplates = "plain"\n'
    )
    curator(
        "relabel", run / "out", "-o", tmp_path / "both", "-c", tmp_path / "heads.toml", "--set", "run.reject_budget=0.5"
    )
    truth = run / "truth.csv"
    printed = json.loads(curator("eval", tmp_path / "both", "--truth", truth, "--samples", 10, "--json"))
    assert [each["label_set"] for each in printed["label_sets"]] == ["labels", "other"]
    for each in printed["label_sets"]:
        alone = curator(
            "eval", tmp_path / "both", "--truth", truth, "--samples", 10, "--label-set", each["label_set"], "--json"
        )
        assert each["measures"] == json.loads(alone)["measures"]
    assert "side by side" in curator("eval", tmp_path / "both", "--truth", truth, "--samples", 10)
