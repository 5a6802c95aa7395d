"""Descriptions from an endpoint: a local server that speaks the protocol, answers well, badly, late or not at all."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from curator.cli.app import app
from curator.cli.describe import describe as _command  # noqa: F401  (registers the command)
from curator.errors import ConfigError, RetryableError
from curator.labels.describe import Endpoint, describe
from curator.labels.heads import LabelSetSpec, read_spec
from curator.labels.vocabulary import Vocabulary
from curator.storage import open_storage

ANIMALS = Vocabulary.load(["cat", "owl"])


class Server(ThreadingHTTPServer):
    """``answers`` is what it says next: a text, or a status to fail with; the last one is repeated."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[str | int | None] = ["fur"]
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(body)
        self.server.keys.append(self.headers["Authorization"])
        answers = self.server.answers
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        content = {} if answer is None else {"choices": [{"message": {"content": answer}}]}
        data = json.dumps(content).encode()
        self.send_response(answer if isinstance(answer, int) else 200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join(10)


def test_descriptors_are_lines_and_are_asked_for_once(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "secret")
    server.answers = ["- whiskers.\n2) a long tail\n\n* whiskers", "big eyes"]
    endpoint = Endpoint(server.url, "tiny", key_variable="MY_KEY")
    made = describe(ANIMALS, "descriptors", endpoint, cache_dir=tmp_path)
    assert made == {"cat": ["whiskers", "a long tail"], "owl": ["big eyes"]}
    assert server.keys == ["Bearer secret"] * 2
    assert "an owl" in server.asked[1]["messages"][0]["content"]
    assert describe(ANIMALS, "descriptors", endpoint, cache_dir=tmp_path) == made
    assert len(server.asked) == 2
    describe(ANIMALS, "descriptors", Endpoint(server.url, "other"), cache_dir=tmp_path)
    assert len(server.asked) == 4
    assert not any("secret" in file.read_text() for file in (tmp_path / "descriptions").iterdir())
    read_spec(LabelSetSpec("kind", ANIMALS, head="dclip", options={"descriptions": made}), open_storage())


def test_sentences_and_differences_have_the_heads_forms(server: Server, tmp_path: Path) -> None:
    server.answers = ["A furry animal."]
    made = describe(ANIMALS, "sentences", Endpoint(server.url, "m"), cache_dir=tmp_path)
    assert made == {"cat": ["A furry animal."], "owl": ["A furry animal."]}
    read_spec(LabelSetSpec("kind", ANIMALS, head="cupl", options={"descriptions": made}), open_storage())
    server.answers = ["whiskers | a beak.\nnothing to see here\n1. fur | feathers"]
    made = describe(ANIMALS, "differences", Endpoint(server.url, "m"), cache_dir=tmp_path)
    assert made == {
        "cat||owl": {
            "cat": ["a photo of a cat, whiskers.", "a photo of a cat, fur."],
            "owl": ["a photo of an owl, a beak.", "a photo of an owl, feathers."],
        }
    }
    read_spec(LabelSetSpec("kind", ANIMALS, head="fudd", options={"differences": made}), open_storage())
    assert describe(ANIMALS, "differences", Endpoint(server.url, "m"), pairs=[("owl", "cat")], cache_dir=tmp_path)


def test_what_passes_is_tried_again_and_what_does_not_is_not(server: Server, tmp_path: Path) -> None:
    slept: list[float] = []
    server.answers = [503, 429, "fur"]
    one = Vocabulary.load(["cat"])
    made = describe(one, "children", Endpoint(server.url, "m"), cache_dir=tmp_path, sleep=slept.append)
    assert made == {"cat": ["fur"]}
    assert slept == [2.0, 4.0]
    server.answers = [500]
    with pytest.raises(RetryableError, match="4 attempts: 500"):
        describe(one, "descriptors", Endpoint(server.url, "m"), cache_dir=tmp_path, sleep=slept.append)
    server.answers = [401]
    with pytest.raises(ConfigError, match=r"refused: 401.*\$OPENAI_API_KEY"):
        describe(one, "descriptors", Endpoint(server.url, "m"), cache_dir=tmp_path)
    server.answers = [None]
    with pytest.raises(ConfigError, match="does not answer as an OpenAI-compatible endpoint"):
        describe(one, "descriptors", Endpoint(server.url, "m"), cache_dir=tmp_path)
    with pytest.raises(ConfigError, match="must begin with http"):
        describe(one, "descriptors", Endpoint("file:///etc", "m"), cache_dir=tmp_path)
    with pytest.raises(RetryableError, match="did not answer"):
        describe(
            one,
            "descriptors",
            Endpoint("http://127.0.0.1:9/v1", "m", attempts=2),
            cache_dir=tmp_path,
            sleep=slept.append,
        )


def test_the_command_writes_the_file(server: Server, tmp_path: Path) -> None:
    labels, out = tmp_path / "labels.txt", tmp_path / "out.json"
    labels.write_text("cat\nowl\n")
    command = ["describe", "--vocabulary", str(labels), "--endpoint", server.url, "--model", "m", "--out", str(out)]
    run = CliRunner().invoke(app, [*command, "--cache-dir", str(tmp_path)])
    assert run.exit_code == 0, run.output
    assert json.loads(out.read_text()) == {"cat": ["fur"], "owl": ["fur"]}
    run = CliRunner().invoke(app, [*command, "--kind", "poems"])
    assert isinstance(run.exception, ConfigError)
