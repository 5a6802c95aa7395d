"""The command line as a user has it: exit codes, messages on standard error, JSON that a script can read."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from curator.cli import app, main
from curator.engine.lock import RunLock
from curator.storage import open_storage
from tests.builders import make_jpeg, make_samples, write_tar

runner = CliRunner()


@pytest.fixture
def job(tmp_path: Path, tiny_encoder_dir: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Arguments of a small sound job, run in a directory of its own."""
    monkeypatch.chdir(tmp_path)
    for number in range(2):
        write_tar(tmp_path / "shards" / f"{number:03d}.tar", make_samples(6, seed=number))
    (tmp_path / "labels.txt").write_text("dog\ncat\nhouse\n")
    return [
        "--input", "shards/{000..001}.tar", "--output", "out", "--set", f"encoder.name=local-dir:{tiny_encoder_dir}",
        "--set", "encoder.precision=float32", "--set", "decode.threads=1",
    ]  # fmt: skip


def exit_status(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """What the ``curator`` command exits with."""
    monkeypatch.setattr("sys.argv", ["curator", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    code = left.value.code
    return 0 if code is None else int(code)


def test_label_plan_status_verify(job: list[str], tmp_path: Path) -> None:
    planned = json.loads(runner.invoke(app, ["plan", *job, "--json"]).stdout)
    assert [shard["url"] for shard in planned["todo"]] == [
        f"{tmp_path}/shards/000.tar",
        f"{tmp_path}/shards/001.tar",
    ]
    assert not (tmp_path / "out").exists(), "planning changes nothing"

    done = runner.invoke(app, ["label", *job, "--vocabulary", "labels.txt", "--top-k", "2", "--json"])
    assert done.exit_code == 0, done.output
    summary = json.loads(done.stdout)
    assert (summary["status"], summary["totals"]["rows"]) == ("complete", 12)
    assert summary["startup_s"] > 0

    assert json.loads(runner.invoke(app, ["plan", *job, "--json"]).stdout)["done"] == 2
    assert "2 shards done, 12 rows" in runner.invoke(app, ["status", "out"]).stdout
    assert json.loads(runner.invoke(app, ["status", "out", "--json"]).stdout)["totals"] == summary["totals"]
    assert json.loads(runner.invoke(app, ["verify", "out", "--json"]).stdout) == {"checked": 2, "problems": {}}


def test_plain_lines_when_not_on_a_terminal(job: list[str]) -> None:
    done = runner.invoke(app, ["label", *job])
    assert done.exit_code == 0
    assert "2/2 shards, 12 rows" in done.stderr
    assert "complete: 2 shards done, 12 rows" in done.stdout
    assert "\x1b" not in done.output


def test_verify_fails_on_a_spoilt_part(job: list[str], tmp_path: Path) -> None:
    runner.invoke(app, ["label", *job])
    next((tmp_path / "out").glob("part-*")).unlink()
    verified = runner.invoke(app, ["verify", "out"])
    assert verified.exit_code == 1
    assert "is missing" in verified.stdout


def test_a_quarantined_shard_gives_status_1_and_retry_mends_it(job: list[str], tmp_path: Path) -> None:
    shard = tmp_path / "shards" / "001.tar"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:3000])
    failed = runner.invoke(app, ["label", *job])
    assert failed.exit_code == 1
    assert f"quarantined: {tmp_path}/shards/001.tar" in failed.stdout
    assert "shards/001.tar" in runner.invoke(app, ["status", "out"]).stdout
    shard.write_bytes(whole)
    assert runner.invoke(app, ["retry", "out"]).exit_code == 0
    assert runner.invoke(app, ["verify", "out"]).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["label", "--output", "out"], "no input: give --input"),
        (["label", "--input", "shards"], "no output: give --output"),
        (["label", "--input", "nothing-*.tar", "--output", "out"], "nothing-*.tar"),
        (["label", "--config", "absent.toml"], "absent.toml: no such config file"),
        (["label", "--set", "encodr.name=x"], "did you mean 'encoder'?"),
        (["label", "--set", "encoder.batchsize=4"], "did you mean 'batch_size'?"),
        (["label", "--set", "encoder.batch_size=many"], "encoder.batch_size"),
        (["label", "--input", "shards", "--output", "out", "--vocabulary", "absent.txt"], "absent.txt"),
        (["label", "--input", "shards", "--output", "out", "--vocabulary", "labels.txt", "--top-k", "0"], "top_k"),
        (["label", "--input", "shards", "--output", "labels.txt"], "the output cannot be written"),
        (["status", "nowhere"], "no run has begun here"),
        (["label", "--input", "shards", "--output", "out", "--entities", "mofi,gazetteer=x"], "x: no gazetteer here"),
        (["gazetteer", "build", "absent", "-o", "g"], "absent: no such file; give a dump, a table or"),
        (["gazetteer", "build", "absent.csv", "-o", "g"], "absent.csv: no such file; give"),
        (["gazetteer", "build", "absent.parquet", "-o", "g"], "absent.parquet: no such file; give"),
        (["gazetteer", "build", "shards/000.tar", "-o", "g", "--stop-words", "absent"], "--stop-words absent: cannot"),
        (["head", "convert", "absent.pth", "--layout", "mlp", "-o", "h"], "absent.pth does not exist"),
        (["bank", "search", "embedded", "--image", "absent.png"], "--image absent.png: cannot be read as an image"),
        (["bank", "search", "embedded", "--image", "labels.txt"], "--image labels.txt: cannot be read as an image"),
    ],
)
def test_wrong_settings_exit_2_with_the_way_out(
    arguments: list[str],
    message: str,
    job: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert exit_status(monkeypatch, *arguments) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not Path("out").exists()


def test_an_unknown_encoder_exits_2_with_the_nearest(
    job: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_status(monkeypatch, "label", *job, "--set", "encoder.name=ViT-B-23") == 2
    assert "ViT-B-32" in capsys.readouterr().err
    assert not Path("out").exists()
    mine = Path("mine")
    mine.mkdir()
    assert exit_status(monkeypatch, "label", "shards", "-o", "mine/new", "--set", "encoder.name=ViT-B-23") == 2
    assert list(mine.iterdir()) == [], "what was there before stays, and nothing else is left"


@pytest.mark.parametrize(("command", "extra"), [("bank build", "faiss"), ("eval", "report")])
def test_help_names_the_extra_that_an_option_needs(command: str, extra: str) -> None:
    assert f"curator[{extra}]" in runner.invoke(app, [*command.split(), "--help"]).stdout


def test_schema_and_encoders() -> None:
    columns = json.loads(runner.invoke(app, ["schema", "--json"]).stdout)["columns"]
    assert [column["name"] for column in columns][:3] == ["sample_id", "key", "shard"]
    assert all(column["description"] for column in columns)
    found = json.loads(runner.invoke(app, ["encoders", "vit-b-32", "--json"]).stdout)
    assert {"name": "ViT-B-32", "pretrained": "laion2b_s34b_b79k"} in found
    assert "did you mean 'ViT-L-14" in str(runner.invoke(app, ["encoders", "ViT-L-41"]).exception)


def test_schema_is_that_of_the_parts_that_a_run_with_these_settings_writes(job: list[str], tmp_path: Path) -> None:
    asked = ["--vocabulary", "labels.txt", "--free", 'words,words=["dog","cat"],top_k=1', "--score", "clip_score"]
    planned = json.loads(runner.invoke(app, ["schema", *job[4:], *asked, "--json"]).stdout)
    assert runner.invoke(app, ["label", *job, *asked]).exit_code == 0
    assert json.loads(runner.invoke(app, ["schema", "out", "--json"]).stdout) == planned
    types = {column["name"]: column["type"] for column in planned["columns"]}
    assert "[32]" in types["embedding"]
    assert {"labels", "labels_abstained", "free", "clip_score"} <= set(types)


def test_schema_knows_an_encoder_that_is_not_here() -> None:
    settings = ["--set", "encoder.name=ViT-L-14", "--set", "encoders=[{name='b16', encoder='ViT-B-16'}]"]
    columns = json.loads(runner.invoke(app, ["schema", *settings, "--json"]).stdout)["columns"]
    types = {column["name"]: column["type"] for column in columns}
    assert "[768]" in types["embedding"]
    assert "[512]" in types["b16_embedding"]


def test_plan_takes_what_label_takes(job: list[str], tmp_path: Path) -> None:
    def todo(*options: str) -> list[str]:
        found = json.loads(runner.invoke(app, ["plan", *job, *options, "--json"]).stdout)
        return [Path(shard["url"]).name for shard in found["todo"]]

    assert todo("--since", "000.tar", "--salvage", "--backend", "local") == ["001.tar"]
    assert todo("--max-shards", "1") == ["000.tar"]
    for command in ("label", "plan"):
        refused = runner.invoke(app, [command, *job[:4], "--top-k", "3"])
        assert "--top-k is for --vocabulary" in str(refused.exception)


def test_demo_accounts_for_every_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = runner.invoke(app, ["demo"])
    assert shown.exit_code == 0, shown.output
    assert "html_instead_of_image" in shown.stdout
    assert "truncated_image" in shown.stdout
    assert "Every sample is accounted for" in shown.stdout
    again = runner.invoke(app, ["demo"])
    assert again.exit_code == 0
    assert "nothing to do" in again.stdout


@pytest.mark.parametrize("words", [["help"], ["-h"], ["--help"]])
def test_help_shows_every_command_under_a_heading(words: list[str]) -> None:
    shown = runner.invoke(app, words).stdout
    for heading in ("Label images", "Look at a run", "Prepare"):
        assert heading in shown
    assert shown.index(" demo ") < shown.index(" pack ") < shown.index(" label ") < shown.index(" status ")
    assert "─ Commands ─" not in shown
    assert "Exit status" in shown


def test_help_of_a_command_and_of_one_in_a_group() -> None:
    asked, other = (runner.invoke(app, words).stdout.splitlines() for words in (["help", "label"], ["label", "-h"]))
    assert asked[2:] == other[2:]
    assert "Usage: curator label" in asked[1]
    assert "--captions" in runner.invoke(app, ["help", "bank", "build"]).stdout
    assert runner.invoke(app, ["help", "lable"]).exit_code == 2


def test_version() -> None:
    assert re.fullmatch(r"curator \d+\.\d+.*\n", runner.invoke(app, ["--version"]).stdout)


def test_what_a_shell_makes_of_a_pattern_is_all_labelled(job: list[str], tmp_path: Path) -> None:
    done = runner.invoke(app, ["label", "-i", "shards/000.tar", "shards/001.tar", *job[2:], "--json"])
    assert json.loads(done.stdout)["totals"]["shards"] == 2
    planned = runner.invoke(app, ["plan", f"{tmp_path}/shards/000.tar", "./shards/001.tar", "-i", "shards", *job[2:]])
    assert "0 to do (0 B), 2 done" in planned.stdout


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("s3:/bucket/shards", "s3://bucket/shards"),
        ("s3//bucket/x.tar", "s3://bucket/x.tar"),
        ("S3:bucket/x", "s3://bucket/x"),
        ("https:/host/0.tar", "https://host/0.tar"),
    ],
)
def test_a_url_spelled_wrong_is_no_path(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], given: str, meant: str
) -> None:
    for option in ("--input", "--output", "--vocabulary"):
        asked = {"--input": "shards", "--output": "out", "--vocabulary": "labels.txt", option: given}
        words = [word for pair in asked.items() for word in pair]
        assert exit_status(monkeypatch, "label", *words) == 2
        assert f"a url would be {meant}\n" in capsys.readouterr().err


def test_pack_then_label(job: list[str], tmp_path: Path) -> None:
    (tmp_path / "photos/dogs").mkdir(parents=True)
    (tmp_path / "photos/dogs/a.jpg").write_bytes(make_jpeg())
    (tmp_path / "photos/b.heic").write_bytes(b"x")
    made = runner.invoke(app, ["pack", "photos", "-o", "packed"])
    assert made.exit_code == 0
    assert re.match(r"images: 1 \(.*, 0 with a caption\) in shards: 1, of which written now: 1\n", made.stdout)
    assert "left out: 1 *.heic" in made.stderr
    again = json.loads(runner.invoke(app, ["pack", "photos", "-o", "packed", "--json"]).stdout)
    assert (again["shards"], again["written"], again["skipped"]) == (1, 0, {"heic": 1})
    done = runner.invoke(app, ["label", "packed", "-o", "out", *job[4:], "--json"])
    assert json.loads(done.stdout)["totals"]["rows"] == 1
    (row,) = pq.read_table(tmp_path / "out").to_pylist()
    assert (row["key"], json.loads(row["metadata"])) == ("dogs/a", {"path": "dogs/a.jpg", "folder": "dogs"})


def test_status_says_whether_a_run_is_at_work_and_how_the_last_one_ended(job: list[str], tmp_path: Path) -> None:
    def first_line() -> str:
        return runner.invoke(app, ["status", "out"]).stdout.splitlines()[0]

    runner.invoke(app, ["label", *job])
    assert re.fullmatch(r"complete, ended 20\S+: 2 of 2 shards done, 12 rows, 0 rejected", first_line())
    summary = tmp_path / "out/_ledger/summary.json"
    summary.unlink()
    assert first_line().startswith("interrupted: no run is at work, and the last one left no summary; run the same")
    with RunLock(open_storage(), "out/_ledger", ttl_s=60):
        assert re.match(r"the run \(host .*, pid \d+\) is at work: 2 shards done", first_line())
        assert "is at work" in json.loads(runner.invoke(app, ["status", "out", "--json"]).stdout)["state"]


def test_a_run_without_labels_says_so(job: list[str]) -> None:
    note = "no labels are asked for"
    assert note in runner.invoke(app, ["label", *job]).stderr
    assert note not in runner.invoke(app, ["label", *job, "-o", "two", "--score", "image_shape"]).stderr


def test_the_end_is_told_once(job: list[str]) -> None:
    assert runner.invoke(app, ["label", *job]).stderr.count("2/2 shards") == 1


def test_an_empty_shard_is_said_to_be_empty_and_is_named_once(job: list[str], tmp_path: Path) -> None:
    (tmp_path / "shards/001.tar").write_bytes(b"")
    failed = runner.invoke(app, ["label", *job])
    assert failed.exit_code == 1
    line = f"quarantined: {tmp_path}/shards/001.tar: the shard is empty (cut at byte 0); write it again\n"
    assert line in failed.stdout
    assert line in runner.invoke(app, ["status", "out"]).stdout
