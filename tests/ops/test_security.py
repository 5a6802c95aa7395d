"""Secrets planted where users leave them, and shards that try to be more than data: nothing of either gets out."""

from __future__ import annotations

import ast
import json
import logging
import os
import pickle
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
import yaml

import curator
from curator.config import Config, load_config
from curator.engine.compose import plan_worker
from curator.engine.run import label
from curator.errors import ConfigError
from tests.builders import make_jpeg, members_of, tar_bytes
from tests.run.jobs import job_config, local_fleet, read_rows, write_shards

ROOT = Path(curator.__file__).parents[1]
PLANTED = {
    "AWS_ACCESS_KEY_ID": "planted-key-id",
    "AWS_SECRET_ACCESS_KEY": "planted-secret-key",
    "AWS_SESSION_TOKEN": "planted-session-token",
    "HF_TOKEN": "hf_plantedhubtoken",
    "RAY_AUTH_TOKEN": "planted0ray0token0planted0ray0token0",
}


def plant(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in PLANTED.items():
        monkeypatch.setenv(name, value)


def below(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def leaked(data: bytes) -> list[str]:
    return [name for name, value in PLANTED.items() if value.encode() in data]


def test_the_environment_is_in_nothing_that_a_run_makes(
    tmp_path: Path, tiny_encoder_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    plant(monkeypatch)
    caplog.set_level(logging.DEBUG)
    write_shards(tmp_path / "in", 2)
    (tmp_path / "in" / "9999.tar").write_bytes(b"this is no tar" * 100)
    config = job_config(tmp_path / "in", tiny_encoder_dir, tmp_path / "out")
    summary = label(config, fleet=local_fleet(config))
    made = below(tmp_path / "out")
    assert b'"settings"' in made
    assert leaked(made + caplog.text.encode() + repr(summary).encode()) == []
    assert leaked(cloudpickle.dumps(plan_worker(config))) == [], "what is sent to the workers"


@pytest.mark.ray
@pytest.mark.timeout(300)
def test_the_environment_is_in_nothing_that_ray_keeps(
    tmp_path: Path, tiny_encoder_dir: Path, monkeypatch: pytest.MonkeyPatch, ray_cluster: Any
) -> None:
    import ray
    from ray._private.worker import global_worker

    plant(monkeypatch)
    write_shards(tmp_path / "in", 2)
    config = job_config(tmp_path / "in", tiny_encoder_dir, tmp_path / "out", backend="ray")
    assert label(config).status == "complete"
    assert leaked(repr(ray.get_runtime_context().runtime_env).encode()) == []
    store = global_worker.gcs_client
    for space in (b"fun", b"job", None):
        kept = [store.internal_kv_get(key, space) or b"" for key in store.internal_kv_keys(b"", space)]
        assert leaked(b"".join(kept)) == []
    session = Path(global_worker.node.get_session_dir_path())
    assert leaked(below(session / "logs")) == []


SECRET_URLS = [
    "https://user:planted@host/{}",
    "@https://user:planted@host/{}",
    "s3://user:planted@bucket/{}",
    "https://host/{}?X-Amz-Signature=planted",
    "https://host/{}?sig=planted&sv=1",
    "https://host/{}?access_token=planted",
]
PLACES = [
    ("input.urls", lambda url: {"input": {"urls": [url]}}),
    ("output.url", lambda url: {"output": {"url": url}}),
    ("encoder.pretrained", lambda url: {"encoder": {"pretrained": url}}),
    ("labels.0.options.weights", lambda url: {"labels": [{"vocabulary": "labels.txt", "options": {"weights": url}}]}),
]


@pytest.mark.parametrize("url", SECRET_URLS)
@pytest.mark.parametrize(("place", "settings"), PLACES, ids=[name for name, _ in PLACES])
def test_a_secret_in_a_setting_is_refused_wherever_it_stands(url: str, place: str, settings: Any) -> None:
    from curator.engine.secrets import refuse_secret_settings

    config = Config.model_validate(settings(url.format("a.tar")))
    with pytest.raises(ConfigError, match="password or a signature") as caught:
        refuse_secret_settings(config)
    assert str(caught.value).startswith(place)
    assert "planted" not in str(caught.value)


def test_a_refused_run_leaves_nothing(tmp_path: Path, tiny_encoder_dir: Path) -> None:
    write_shards(tmp_path / "in", 1)
    config = job_config(tmp_path / "in", tiny_encoder_dir, tmp_path / "out")
    listed = Config.model_validate(
        {**config.model_dump(), "encoder": {**config.encoder.model_dump(), "cache_dir": "https://u:planted@h/"}}
    )
    with pytest.raises(ConfigError, match=r"encoder\.cache_dir"):
        label(listed, fleet=local_fleet(config))
    assert not (tmp_path / "out").exists()


def test_a_wrong_setting_is_named_without_its_secret() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(overrides=['encoder.batch_size="https://user:planted@host/"'])
    assert "encoder.batch_size" in str(caught.value)
    assert "planted" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/a.tar", "memory://a/b.tar", "pipe:cat a.tar", "gs://b/a.tar"])
def test_only_allowed_schemes_are_read(tmp_path: Path, tiny_encoder_dir: Path, url: str) -> None:
    """As in deploy/kustomize/base/job.toml, where only S3 is allowed; here only files are."""
    listing = tmp_path / "inputs.txt"
    listing.write_text(f"{url}\n")
    config = job_config(tmp_path / "in", tiny_encoder_dir, tmp_path / "out")
    changed = {**config.model_dump(), "input": {"urls": [f"@{listing}"]}, "storage": {"schemes": ["file"]}}
    with pytest.raises(ConfigError, match=r"not allowed|never run"):
        label(Config.model_validate(changed), fleet=local_fleet(config))


# A template engine that took this for its own would write the answer, too long to stand anywhere by chance.
TEMPLATE, ANSWER = "{{62773913*79999987}}", str(62773913 * 79999987)


class Bomb:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


def test_nothing_in_a_shard_is_executed_or_templated(
    tmp_path: Path, tiny_encoder_dir: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.chdir(tmp_path)
    owned = tmp_path / "owned"
    texts = [
        f"$(touch {owned}) `touch {owned}`; touch {owned}",
        TEMPLATE + " ${62773913*79999987} %(asctime)s %s {0.__class__} {config}",
        f"__import__('os').system('touch {owned}')",
        "[bold red]not markup[/]\x1b[2J\x1b]0;owned\x07",
        "=cmd|' /C calc'!A0",
    ]
    samples = [
        (f"{index:03d}", {"jpg": make_jpeg(seed=index), "txt": text.encode(), "pkl": pickle.dumps(Bomb(owned))})
        for index, text in enumerate(texts)
    ]
    samples.append((TEMPLATE, {"jpg": b"\x80\x04pickle?", "json": b'{"__class__": "os.system"}'}))
    samples.append(("../../escape", {"jpg": make_jpeg(seed=9), "py": f"open({str(owned)!r}, 'w')".encode()}))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "0.tar").write_bytes(tar_bytes(members_of(samples)))
    before = {path.name for path in tmp_path.iterdir()}
    config = job_config(tmp_path / "in", tiny_encoder_dir, tmp_path / "out")
    summary = label(config, fleet=local_fleet(config))
    assert summary.totals["rows"] == len(samples)
    assert not owned.exists()
    assert {path.name for path in tmp_path.iterdir()} - before == {"labels.txt", "cache", "out"}
    assert {row.key for row in read_rows(config.output.url).values()} == {key for key, _ in samples}
    import pyarrow.dataset

    table = pyarrow.dataset.dataset(config.output.url, format="parquet").to_table(columns=["key", "caption"])
    captions = dict(zip(table["key"].to_pylist(), table["caption"].to_pylist(), strict=True))
    assert [captions[f"{index:03d}"] for index in range(len(texts))] == [text.strip() for text in texts]
    assert ANSWER not in caplog.text
    assert ANSWER.encode() not in below(tmp_path)


def calls(path: Path) -> set[str]:
    """Names of what a module calls, with the module before them: ``os.system``, ``eval``."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            found.add(ast.unparse(node.func))
            found |= {f"{ast.unparse(node.func)}({word.arg}={ast.unparse(word.value)})" for word in node.keywords}
    return found


def test_the_code_has_no_means_to_execute_data() -> None:
    forbidden = {"eval", "exec", "compile", "os.system", "os.popen", "pickle.load", "pickle.loads", "cloudpickle.loads",
                 "yaml.load", "marshal.loads", "shelve.open", "joblib.load", "numpy.load(allow_pickle=True)",
                 "np.load(allow_pickle=True)"}  # fmt: skip
    # The decoder, from the worker that started the program, over a socket that nobody else has.
    allowed = {"curator/engine/decode_program.py": {"pickle.loads"}}
    for path in (ROOT / "curator").rglob("*.py"):
        made = calls(path)
        found = made & forbidden - allowed.get(path.relative_to(ROOT).as_posix(), set())
        assert not found, f"{path}: {found}"
        assert not any("shell=True" in each or "trust_remote_code=True" in each for each in made), path
        if "torch.load" in made:
            assert "torch.load(weights_only=True)" in made, path


def test_what_is_sent_to_a_cluster_names_no_credentials() -> None:
    """Ray keeps runtime environments in plain sight of everybody who may see its dashboard."""
    files = [*(ROOT / "jobs").glob("*.y*ml"), *(ROOT / "deploy").rglob("*.yaml")]
    assert files
    for path in files:
        for document in yaml.safe_load_all(path.read_text()):
            variables = (document or {}).get("env_vars", {})
            named = [name for name in variables if any(word in name for word in ("KEY", "SECRET", "TOKEN", "PASSWORD"))]
            assert named == [], f"{path}: {named}"
            assert "runtimeEnvYAML" not in json.dumps(document), path
