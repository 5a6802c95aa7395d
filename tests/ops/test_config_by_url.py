"""Settings that lie in a bucket or behind a web server: read through Curator's own storage, with its errors."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import curator
from curator.cli import app
from curator.engine.compose import fetch_config, plan_worker
from curator.errors import ConfigError
from curator.labels.vocabulary import Vocabulary
from curator.storage import open_storage
from tests.faults.s3_server import S3Server, s3_server
from tests.run.jobs import write_shards

__all__ = ["s3_server"]


def toml(shards: Path, output: Path) -> bytes:
    return f"[input]\nurls = ['{shards}']\n[output]\nurl = '{output}'\n[ray]\nworkers = 7\n".encode()


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """The url of a web server over ``tmp_path``."""

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(tmp_path))

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def plan(*options: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["plan", "--json", *options])
    return result.exit_code, str(result.exception) if isinstance(result.exception, ConfigError) else result.stdout


def test_from_s3_and_from_the_web_as_from_a_file(tmp_path: Path, s3_server: S3Server, web: str) -> None:
    write_shards(tmp_path / "shards", 2, samples=6)
    content = toml(tmp_path / "shards", tmp_path / "out")
    (tmp_path / "label.toml").write_bytes(content)
    bucket = s3_server.bucket()
    s3_server.client().put_object(Bucket=bucket, Key="jobs/label.toml", Body=content)
    endpoint = ["--set", f"storage.endpoint_url={s3_server.endpoint_url}"]
    status, by_path = plan("--config", str(tmp_path / "label.toml"))
    assert status == 0
    assert len(json.loads(by_path)["todo"]) == 2
    assert plan("--config", f"s3://{bucket}/jobs/label.toml", *endpoint) == (0, by_path)
    assert plan("--config", f"{web}/label.toml") == (0, by_path)


def test_overrides_come_after_the_file() -> None:
    open_storage().write("memory://by-url/label.toml", toml(Path("shards"), Path("out")))
    config = fetch_config("memory://by-url/label.toml", overrides=["ray.workers=9"], values={"output": {"url": "else"}})
    assert (config.ray.workers, config.output.url) == (9, f"{os.getcwd()}/else")


def test_the_library_takes_a_url_too() -> None:
    open_storage().write("memory://by-url/none.toml", b"[output]\nurl = 'out'\n")
    with pytest.raises(ConfigError, match="no input"):
        curator.label(config="memory://by-url/none.toml")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "memory://by-url/wrong.toml: the config cannot be read: "),
        (b"[ray\n", "memory://by-url/wrong.toml: not valid TOML"),
        (b"\xff", "memory://by-url/wrong.toml: not valid TOML"),
        (b"[ray]\nworker = 1\n", "memory://by-url/wrong.toml: line 2: unknown key 'ray.worker'; did you mean 'work"),
    ],
)
def test_what_cannot_be_read_names_the_url(content: bytes | None, said: str) -> None:
    storage = open_storage()
    storage.delete("memory://by-url/wrong.toml")
    if content is not None:
        storage.write("memory://by-url/wrong.toml", content)
    with pytest.raises(ConfigError) as caught:
        fetch_config("memory://by-url/wrong.toml")
    assert str(caught.value).startswith(said)


def test_more_workers_wanted_at_least_than_at_most_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"min_workers \(3\) is more than workers \(2\)"):
        curator.load_config(overrides=["ray.workers=2", "ray.min_workers=3"])


def test_a_vocabulary_lies_where_the_settings_do() -> None:
    storage = open_storage()
    storage.write("memory://by-url/label.toml", toml(Path("shards"), Path("out")))
    storage.write("memory://by-url/labels.json", b'["dog", "cat"]')
    labels = Vocabulary.load("memory://by-url/labels.json", storage)
    assert labels.names == ("dog", "cat")
    label_set = {"vocabulary": "memory://by-url/labels.json"}
    config = fetch_config("memory://by-url/label.toml", values={"labels": [label_set]})
    assert plan_worker(config).annotations.label_sets[0].vocabulary.digest == labels.digest
    storage.write("memory://by-url/beside.txt", b"a {} beside its settings\n")
    storage.write(
        "memory://by-url/beside.toml",
        b"[input]\nurls = ['s/*.tar', '../x/a.tar']\n"
        b"[[labels]]\nvocabulary = 'labels.json'\ntemplates = './beside.txt'\n",
    )
    config = fetch_config("memory://by-url/beside.toml", values={"output": {"url": "out"}})
    assert config.input.urls == ("memory://by-url/s/*.tar", "memory://by-url/x/a.tar")
    assert config.output.url == f"{os.getcwd()}/out"
    (label_set_read,) = plan_worker(config).annotations.label_sets
    assert label_set_read.vocabulary.digest == labels.digest
    assert label_set_read.templates == ("a {} beside its settings",)
    with pytest.raises(ConfigError, match=r"vocabulary memory://by-url/none\.txt does not exist"):
        Vocabulary.load("memory://by-url/none.txt", storage)
