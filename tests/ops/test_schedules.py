"""What cron and Airflow are told to run: commands that Curator's parser takes, named by the day, within a window."""

from __future__ import annotations

import os
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

from curator.cli import app
from tests.ops.conftest import README

DEPLOY = README.parent


def parse(command: str) -> dict[str, Any]:
    """The options of a ``curator`` command line, as its parser takes them; it raises on any that it does not know."""
    words = shlex.split(command)
    group = typer.main.get_command(app)
    assert words.pop(0) == "curator"
    while words[0].startswith("-"):
        words.pop(0)
    name = words.pop(0)
    return group.commands[name].make_context(name, words).params  # type: ignore[attr-defined]


class Operator:
    """A task that remembers what it was made of, in place of Airflow's."""

    def __init__(self, **settings: Any) -> None:
        self.settings = {**Dag.current.settings["default_args"], **settings}
        self.then: list[Operator] = []
        Dag.current.tasks.append(self)

    def __rshift__(self, after: Operator) -> Operator:
        self.then.append(after)
        return after


class Dag:
    current: Dag

    def __init__(self, **settings: Any) -> None:
        self.settings = settings
        self.tasks: list[Operator] = []

    def __enter__(self) -> Dag:
        Dag.current = self
        return self

    def __exit__(self, *_: object) -> None:
        pass


@contextmanager
def airflow(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The two names of Airflow 3 that the DAG imports."""
    names = ["airflow", "airflow.sdk", "airflow.providers", "airflow.providers.standard"]
    operators = "airflow.providers.standard.operators"
    for name in [*names, operators, f"{operators}.bash"]:
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules["airflow.sdk"].DAG = Dag  # type: ignore[attr-defined]
    sys.modules[f"{operators}.bash"].BashOperator = Operator  # type: ignore[attr-defined]
    yield


def test_the_dag_labels_then_waits_for_the_run_of_its_day(monkeypatch: pytest.MonkeyPatch) -> None:
    with airflow(monkeypatch):
        dag = runpy.run_path(str(DEPLOY / "airflow" / "curator_nightly.py"))["dag"]
    label, wait, status = dag.tasks
    assert (label.then, wait.then, status.then) == ([wait], [status], [])
    assert all(task.settings["append_env"] for task in dag.tasks), "else curator would not be on the PATH"
    commands = {task.settings["task_id"]: task.settings["bash_command"] for task in dag.tasks}
    given = {name: parse(command.replace("{{ ds }}", "2026-11-22")) for name, command in commands.items()}
    assert given["label"]["run_id"] == given["wait"]["run_id"] == "2026-11-22"
    window = timedelta(seconds=given["label"]["max_seconds"])
    assert window < label.settings["execution_timeout"] < dag.settings["dagrun_timeout"]
    assert dag.settings["max_active_runs"] == 1


def crontab() -> list[str]:
    """The commands, as cron gives them to the shell."""
    lines = (DEPLOY / "cron" / "crontab").read_text().splitlines()
    jobs = [re.fullmatch(r"((?:[-\d*/,]+ ){5})(.+)", line) for line in lines]
    found = [match[2] for match in jobs if match]
    assert all(match or re.match(r"#|\w+=|$", line) for match, line in zip(jobs, lines, strict=True))
    assert not any(re.search(r"(?<!\\)%", command) for command in found), "an unescaped % ends the line for cron"
    return [command.replace("\\%", "%") for command in found]


def test_the_crontab_runs_the_script_and_waits_for_the_run_of_the_day() -> None:
    night, after = crontab()
    script = night.split()[0]
    assert script.endswith("/deploy/cron/nightly.sh")
    assert os.access(DEPLOY / "cron" / "nightly.sh", os.X_OK)
    wait, status = (part.split(">")[0].strip().removesuffix("2") for part in after.split("&&"))
    assert parse(wait)["run_id"] == "$(date -u +%F)"
    assert parse(status)["as_json"] is True
    for command in (night, after):
        subprocess.run(["sh", "-n", "-c", command], check=True)


@pytest.mark.parametrize("missing", ["CURATOR_CONFIG", "CURATOR_OUTPUT"])
def test_the_script_says_what_it_needs(missing: str) -> None:
    environment = {"PATH": os.environ["PATH"], "CURATOR_CONFIG": "a", "CURATOR_OUTPUT": "b"}
    del environment[missing]
    run = subprocess.run([DEPLOY / "cron" / "nightly.sh"], env=environment, capture_output=True, text=True)
    assert run.returncode == 2
    assert missing in run.stderr


def test_the_script_passes_on_the_status_and_names_the_run_by_the_day(tmp_path: Path) -> None:
    fake = tmp_path / "curator"
    fake.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\nexit 7\n')
    fake.chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "CURATOR_CONFIG": "s3://b/c d.toml",
        "CURATOR_OUTPUT": "o",
    }
    run = subprocess.run([DEPLOY / "cron" / "nightly.sh"], env=environment, capture_output=True, text=True)
    assert run.returncode == 7
    given = parse(shlex.join(["curator", *run.stdout.splitlines()]))
    assert (given["config"], given["output"], given["max_seconds"]) == ("s3://b/c d.toml", "o", 18_000.0)
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", given["run_id"])


@pytest.mark.parametrize("job", ["label", "relabel", "bank"])
def test_the_jobs_are_commands_on_ray_that_take_settings(job: str) -> None:
    """The entry points of `ray job submit`; that they run there is shown by ``test_readme_commands.py``."""
    script = DEPLOY.parent / "jobs" / f"{job}.py"
    run = subprocess.run([sys.executable, script, "--help"], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "--config" in run.stdout
    assert "--set" in run.stdout
    assert '"--backend", "ray"' in script.read_text()


NIGHT = "nightly-2026-11-22"
RUNNING, SUCCEEDED = f"Status for job '{NIGHT}': RUNNING", f"Job '{NIGHT}' succeeded"
FAILED = f"Job '{NIGHT}' failed\nStatus message: over budget; the night before Job 'nightly-2026-11-21' succeeded"
UNKNOWN, STOPPED = "RuntimeError: 404: no such job", f"Job '{NIGHT}' was stopped"
FAKE_RAY = """#!/bin/sh
echo "$*" >> "$PLACE/asked"
if [ "$2" = status ]; then
    count=$(grep -c "^job status" "$PLACE/asked")
    cat "$PLACE/$count"
fi
"""


@pytest.mark.parametrize(
    ("answers", "status", "did"),
    [
        ([UNKNOWN, RUNNING, SUCCEEDED], 0, ["submit", "logs"]),
        ([UNKNOWN, RUNNING, RUNNING, FAILED], 1, ["submit", "logs", "logs"]),
        ([RUNNING, STOPPED], 1, ["logs"]),  # another pod has submitted it
        ([FAILED], 1, []),
        ([SUCCEEDED], 0, []),
        ([UNKNOWN, RUNNING, UNKNOWN, SUCCEEDED], 0, ["submit", "logs", "submit"]),  # a new head that knows of nothing
    ],
)
def test_the_night_on_ray_is_submitted_once_and_followed(
    answers: list[str], status: int, did: list[str], tmp_path: Path
) -> None:
    for number, answer in enumerate(answers, 1):
        (tmp_path / str(number)).write_text(answer)
    submissions = [shlex.split(line) for line in asked_of_ray(tmp_path, status) if line.startswith("job submit")]
    verbs = [line.split()[1] for line in (tmp_path / "asked").read_text().splitlines()]
    assert [verb for verb in verbs if verb != "status"] == did
    for words in submissions:
        assert words[2:5] == ["--no-wait", "--submission-id", NIGHT]
        assert words[5:8] == ["--", "python", "/opt/curator/jobs/label.py"]
        given = parse(shlex.join(["curator", "label", *words[8:]]))
        assert (str(given["config"]), given["run_id"]) == ("s3://b/job.toml", "2026-11-22")
        assert 17_000 < given["max_seconds"] <= 18_000


def test_a_night_whose_window_is_over_is_not_begun_again(tmp_path: Path) -> None:
    (tmp_path / "1").write_text(UNKNOWN)
    assert asked_of_ray(tmp_path, 1, CURATOR_WINDOW_S="0") == [f"job status {NIGHT}"]


def asked_of_ray(place: Path, status: int, **variables: str) -> list[str]:
    """What deploy/cron/on-ray.sh asks of a Ray that gives the answers in ``place``, one by one."""
    (place / "ray").write_text(FAKE_RAY)
    (place / "ray").chmod(0o755)
    environment = {
        "PATH": f"{place}:{os.environ['PATH']}", "PLACE": str(place), "CURATOR_RUN_ID": "2026-11-22",
        "CURATOR_PAUSE_S": "0", **variables,
    }  # fmt: skip
    command = [DEPLOY / "cron" / "on-ray.sh", "--config", "s3://b/job.toml"]
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert run.returncode == status, run.stderr
    return (place / "asked").read_text().splitlines()
