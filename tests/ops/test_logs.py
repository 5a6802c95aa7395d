"""Logs for collectors: every line of standard error is one JSON object that says which run, shard and attempt."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, ClassVar

import pytest

from curator.data import Lease, Shard
from curator.logs import LogSettings, Printed, current, of_shard, set_up
from tests.run.jobs import job_config, write_shards


def curator(*arguments: str | Path, **environment: str) -> tuple[int, str, list[dict[str, Any]]]:
    """Exit status, standard output, and standard error as JSON lines."""
    run = subprocess.run(
        [sys.executable, "-m", "curator", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )
    return run.returncode, run.stdout, [json.loads(line) for line in run.stderr.splitlines()]


def write_config(tmp_path: Path, encoder: Path) -> Path:
    """The job's settings as TOML: JSON's strings, numbers and lists are TOML's, too."""
    settings = job_config(tmp_path / "in", encoder, tmp_path / "out").model_dump(mode="json", exclude_defaults=True)
    lines = []
    for section, values in settings.items():
        for item in values if isinstance(values, list) else [values]:
            lines.append(f"[[{section}]]" if isinstance(values, list) else f"[{section}]")
            lines += [f"{name} = {json.dumps(value)}" for name, value in item.items()]
    path = tmp_path / "job.toml"
    path.write_text("\n".join(lines))
    return path


@pytest.mark.timeout(300)
def test_every_line_is_json_and_names_run_shard_and_attempt(tmp_path: Path, tiny_encoder_dir: Path) -> None:
    write_shards(tmp_path / "in", 2)
    (tmp_path / "in" / "9999.tar").write_bytes(b"this is no tar" * 100)
    config = write_config(tmp_path, tiny_encoder_dir)
    status, out, lines = curator("label", "--config", config, "--log-format", "json", "--json")
    assert status == 1
    assert json.loads(out)["shards"]["done"] == 2
    assert {"time", "level", "logger", "message"} <= set.intersection(*(set(line) for line in lines))
    named = {line["message"].split(" ")[0] + " " + line["message"].split(" ")[1]: line for line in lines}
    output = str(tmp_path / "out")
    for message, level in (("shard done", "info"), ("attempt failed", "warning"), ("shard quarantined", "error")):
        line = named[message]
        assert (line["level"], line["run"], line["attempt"]) == (level, output, 1)
        assert line["shard"].endswith(".tar")
    assert named["progress 3"]["settled"] == 3
    assert named["progress 3"]["rows"] == 24


def test_what_goes_wrong_before_a_run_is_json_too(tmp_path: Path) -> None:
    status, out, lines = curator(
        "label", "--input", tmp_path / "none", "-o", tmp_path / "out", CURATOR_LOG_FORMAT="json"
    )
    assert (status, out) == (2, "")
    assert [line["level"] for line in lines] == ["warning", "error"]
    assert "no labels are asked for" in lines[0]["message"]
    assert f"{tmp_path / 'none'}' stands for no shard" in lines[1]["message"]


def test_lines_hide_the_secrets_of_urls(capsys: pytest.CaptureFixture[str]) -> None:
    secret = "https://me:hunter2@host/a.tar?X-Amz-Signature=5e1f&x=1"
    for form in ("text", "json"):
        with fresh_logs(LogSettings(logging.INFO, form, "out")):
            log = logging.getLogger("curator.storage.http")
            with of_shard("s3://bucket/a.tar", 2):
                log.info("cannot read %s: refused", secret, extra={"place": secret})
            try:
                raise OSError(f"no {secret}")
            except OSError:
                log.exception("failed")
        said = capsys.readouterr().err
        assert "https://***@host/a.tar?X-Amz-Signature=***" in said
        assert "hunter2" not in said
        assert "5e1f" not in said
    first = json.loads(said.splitlines()[0])
    assert (first["run"], first["shard"], first["attempt"]) == ("out", "s3://bucket/a.tar", 2)


def test_actors_log_as_their_driver_does(capsys: pytest.CaptureFixture[str]) -> None:
    from curator.engine.backends.ray import _Shell

    class Talkative:
        provenance: ClassVar[dict[str, str]] = {}

        def process(self, lease: Lease) -> str:
            logging.getLogger("curator.storage.backoff").warning("storage fault at=%s", lease.shard.url)
            return "done"

    with fresh_logs(LogSettings(logging.INFO, "json", "s3://bucket/out")):
        settings = current()
    with fresh_logs(LogSettings()):  # another process
        shell = _Shell(Talkative, settings)  # type: ignore[arg-type]
        shell._worker = Talkative()  # type: ignore[assignment]
        assert shell.process(Lease(Shard("s3://bucket/a.tar"), 3)) == "done"
        line = json.loads(capsys.readouterr().err)
    assert (line["run"], line["shard"], line["attempt"]) == ("s3://bucket/out", "s3://bucket/a.tar", 3)
    assert line["message"] == "storage fault at=s3://bucket/a.tar"


def test_what_libraries_print_becomes_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with fresh_logs(LogSettings(logging.INFO, "json")), redirect_stdout(Printed()):
        print("(raylet) a node", "is gone", sep="\n")  # noqa: T201
    assert [json.loads(line)["message"] for line in capsys.readouterr().err.splitlines()] == [
        "(raylet) a node",
        "is gone",
    ]


@contextmanager
def fresh_logs(settings: LogSettings) -> Iterator[None]:
    """``settings`` in force, and everything as it was afterwards."""
    root = logging.getLogger()
    handlers, level, before = list(root.handlers), root.level, current()
    set_up(settings)
    try:
        yield
    finally:
        set_up(before)
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.captureWarnings(False)
