"""The configuration: what is refused and in which words, how overrides are written, what the digest answers to."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from curator.config import Config, DecodeConfig, digest_of, load_config
from curator.errors import ConfigError

LABELS = {"vocabulary": "labels.txt"}


def refused(**options: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(**options)
    return str(caught.value)


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "run.toml"
    path.write_text(text)
    return path


def test_without_anything_there_are_defaults() -> None:
    assert load_config() == Config()


@pytest.mark.parametrize(
    ("text", "key", "hint"),
    [
        ("[encoder]\nbatchsize = 8", "encoder.batchsize", "did you mean 'batch_size'?"),
        ("[encodr]\nname = 'x'", "encodr", "did you mean 'encoder'?"),
        ("[run]\nsilence = 8", "run.silence", "did you mean 'silence_s'?"),
        ("[[labels]]\nvocabulary = 'a'\ntopk = 1", "labels.0.topk", "did you mean 'top_k'?"),
        ("[decode]\nzzz = 8", "decode.zzz", f"there are {', '.join(DecodeConfig.model_fields)}"),
    ],
)
def test_an_unknown_key_names_the_nearest_and_the_file(tmp_path: Path, text: str, key: str, hint: str) -> None:
    path = write(tmp_path, text)
    line = 1 if key == "encodr" else text.count("\n") + 1
    assert refused(path=path) == f"{path}: line {line}: unknown key {key!r}; {hint}"


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    message = refused(path=write(tmp_path, "[encoder]\nnam = 1\nbatch_size = 0\n[decode]\nmode = 'rough'"))
    assert sorted(message.splitlines()) == [
        f"{tmp_path}/run.toml: line 2: unknown key 'encoder.nam'; did you mean 'name'?",
        f"{tmp_path}/run.toml: line 3: encoder.batch_size is 0; it must be a whole number above 0",
        f"{tmp_path}/run.toml: line 5: decode.mode is 'rough'; it must be one of exact, close, fast",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[encoder]\nbatch_size = 'many'", "line 2: encoder.batch_size is 'many'; it must be a whole number above 0"),
        ("[encoder]\nbatch_size = 1.5", "line 2: encoder.batch_size is 1.5; it must be a whole number above 0"),
        ("[encoder]\nname = 5", "line 2: encoder.name is 5; it must be text"),
        ("[encoder]\nprecision = 'bf16'",
         "line 2: encoder.precision is 'bf16'; it must be one of auto, float32, bfloat16, float16; "
         "did you mean 'bfloat16'?"),
        ("[encoder]\ncompile = 'maybe'", "line 2: encoder.compile is 'maybe'; it must be true or false"),
        ("[run]\nreject_budget = 5", "line 2: run.reject_budget is 5; it must be a number from 0 to 1"),
        ("[run]\nmetrics_port = 70000",
         "line 2: run.metrics_port is 70000; it must be a whole number above 0 and below 65536"),
        ("[run]\nid = 'a b'", "line 2: run.id is 'a b'; it must be text that fits ^[A-Za-z0-9_][A-Za-z0-9._+-]{0,99}$"),
        ("[input]\nurls = 5", "line 2: input.urls is 5; it must be a list of texts"),
        ("[input]\nurls = ['a', 5]", "line 2: input.urls.1 is 5; it must be text"),
        ("[ray]\nresources = { tpu = 'x' }", "line 2: ray.resources.tpu is 'x'; it must be a number"),
        ("[ray]\nworkers = 1\nmin_workers = 2", "line 1: ray: min_workers (2) is more than workers (1)"),
        ("encoder = 'ViT-B-32'",
         "line 1: encoder is 'ViT-B-32'; it must be a table of settings: write [encoder] above them"),
        ("[labels]\ntop_k = 1",
         "line 1: labels is {'top_k': 1}; it must be a list of tables: write [[labels]] above its settings"),
        ("labels = [5]", "line 1: labels.0 is 5; it must be a table of settings: write [[labels]] above them"),
        ("[[labels]]\nvocabulary = 'x'\n\n[[labels]]\nname = 'b'",
         "line 4: labels.1.vocabulary is missing: text, JSON or TOML file of labels"),
        ("labels = [{vocabulary = 'a', top_k = 0}]", "line 1: labels.0.top_k is 0; it must be a whole number above 0"),
        ("[[labels]]\nvocabulary = 'x'\noptions = 3", "line 3: labels.0.options is 3; it must be a table"),
        ("[[scores]]\nname = 's'\n[scores.options]\nt = 1", "line 1: scores.0.method is missing"),
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit_is_told_in_our_words_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    path = write(tmp_path, text)
    message = refused(path=path)
    assert message.startswith(f"{path}: {said}")
    assert "Input should" not in message
    assert "\n" not in message


@pytest.mark.parametrize("text", [b"[encoder\n", b"name = '\xff\xfe'"])
def test_a_file_that_is_no_toml_is_named(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "run.toml"
    path.write_bytes(text)
    assert refused(path=path).startswith(f"{path}: not valid TOML: ")


def test_a_file_that_is_not_there_or_not_readable_is_named(tmp_path: Path) -> None:
    assert refused(path=tmp_path / "none.toml") == f"{tmp_path}/none.toml: no such config file"
    assert refused(path=tmp_path) == f"{tmp_path}: cannot be read: Is a directory"


def test_the_file_then_overrides_then_values(tmp_path: Path) -> None:
    path = write(tmp_path, "[encoder]\nname = 'a'\nbatch_size = 1\nprecision = 'float32'\n[input]\nurls = ['x']")
    config = load_config(
        path,
        overrides=["encoder.batch_size=2", "encoder.name=b"],
        values={"encoder": {"name": "c"}, "run": {"backend": "ray"}},
    )
    assert (config.encoder.name, config.encoder.batch_size, config.encoder.precision) == ("c", 2, "float32")
    assert config.run.backend == "ray"
    assert config.input.urls == (f"{tmp_path}/x",)


@pytest.mark.parametrize(
    ("override", "found"),
    [
        ("encoder.batch_size=128", lambda c: c.encoder.batch_size == 128),
        ("encoder.pretrained=laion2b_s34b_b79k", lambda c: c.encoder.pretrained == "laion2b_s34b_b79k"),
        ("encoder.name='ViT-B-32'", lambda c: c.encoder.name == "ViT-B-32"),
        ('encoder.name="ViT-B-32"', lambda c: c.encoder.name == "ViT-B-32"),
        ("encoder.name=hf-hub:timm/ViT=B", lambda c: c.encoder.name == "hf-hub:timm/ViT=B"),
        ("output.url=s3://bucket/out", lambda c: c.output.url == "s3://bucket/out"),
        ("decode.exif_orientation=true", lambda c: c.decode.exif_orientation is True),
        ("run.reject_budget=0.5", lambda c: c.run.reject_budget == 0.5),
        ('input.urls=["a.tar", "b.tar"]', lambda c: c.input.urls == (f"{os.getcwd()}/a.tar", f"{os.getcwd()}/b.tar")),
        ("input.since=2026-11-22", lambda c: c.input.since == "2026-11-22"),
        ("input.since=00042.tar", lambda c: c.input.since == "00042.tar"),
        ("ray.resources={tpu = 1.0}", lambda c: c.ray.resources == {"tpu": 1.0}),
        ("ray.resources.tpu=2", lambda c: c.ray.resources == {"tpu": 2.0}),
        ("labels.1.top_k=3", lambda c: [label.top_k for label in c.labels] == [5, 3]),
        ("labels.0.options.depth=3", lambda c: c.labels[0].options == {"depth": 3}),
        ("labels.0.vocabulary=other.txt", lambda c: c.labels[0].vocabulary == os.path.abspath("other.txt")),
        ("labels=[{vocabulary = 'x', name = 'y'}]", lambda c: [label.name for label in c.labels] == ["y"]),
        ("labels.1={vocabulary = 'x', name = 'y'}", lambda c: [label.name for label in c.labels] == ["a", "y"]),
        (" encoder.batch_size =7", lambda c: c.encoder.batch_size == 7),
    ],
)
def test_overrides_as_a_shell_gives_them(tmp_path: Path, override: str, found: Any) -> None:
    path = write(tmp_path, "[[labels]]\nname = 'a'\nvocabulary = 'a.txt'\n[[labels]]\nname = 'b'\nvocabulary = 'b.txt'")
    assert found(load_config(path, overrides=[override]))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("encoder.batch_size", "--set encoder.batch_size: write it as key.path=value"),
        ("encoder.batch_siz=3", "--set encoder.batch_siz: unknown key 'encoder.batch_siz'; did you mean 'batch_size'?"),
        (
            "encoder.batch_size=many",
            "--set encoder.batch_size: encoder.batch_size is 'many'; it must be a whole number",
        ),
        ("input.urls.0=x", "--set input.urls.0: input.urls is {'0': 'x'}; it must be a list of texts"),
    ],
)
def test_an_override_that_cannot_be_meant_says_so(override: str, message: str) -> None:
    assert refused(overrides=[override]).startswith(message)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["labels.2.top_k=3"], "'2' is no position in a list of 1; for example labels.0.top_k=3"),
        (["labels.top_k=3"], "'top_k' is no position in a list of 1"),
        (["encoder.name=x", "encoder.name.first=y"], "there is no 'first' in 'x', which is a value and not a section"),
        (["encoder=5", "encoder.name.first=y"], "there is no 'name' in 5, which is a value and not a section"),
    ],
)
def test_an_override_that_leads_nowhere_says_where_it_ends(tmp_path: Path, overrides: list[str], message: str) -> None:
    path = write(tmp_path, "[[labels]]\nvocabulary = 'a.txt'")
    assert message in refused(path=path, overrides=overrides)


def test_two_label_sets_cannot_share_a_name() -> None:
    message = refused(values={"labels": [LABELS, {**LABELS, "name": "b"}, {**LABELS, "name": "labels"}]})
    assert "two label sets are named 'labels': give each its own name" in message
    assert len(load_config(values={"labels": [LABELS, {**LABELS, "name": "b"}]}).labels) == 2


def test_values_do_not_change_after_loading() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_config().encoder.name = "x"  # type: ignore[misc]


def test_a_config_survives_its_own_record() -> None:
    """``retry`` builds on what ``run.json`` recorded."""
    config = load_config(values={"labels": [LABELS], "input": {"urls": ["a", "b"]}})
    assert Config.model_validate(config.model_dump()) == config
    assert Config.model_validate_json(config.model_dump_json()) == config


def test_the_digest_is_that_of_the_canonical_json() -> None:
    assert digest_of({"b": [1, 2.5, None], "a": "ä"}) == digest_of({"a": "ä", "b": [1, 2.5, None]})
    text = r'{"a":"\u00e4","b":[1,2.5,null]}'
    assert digest_of({"a": "ä", "b": (1, 2.5, None)}) == hashlib.sha256(text.encode()).hexdigest()[:16]
    assert digest_of({"a": 1}) != digest_of({"a": 2})


def shaped(**values: Any) -> str:
    base: dict[str, Any] = {"labels": [LABELS], "input": {"urls": ["a"]}, "output": {"url": "out"}}
    return digest_of(load_config(values={**base, **values}).shaping())


@pytest.mark.parametrize(
    "values",
    [
        {"input": {"caption": "json.text"}},
        {"input": {"salvage": True}},
        {"input": {"max_member_bytes": 7}},
        {"output": {"embedding_dtype": "float32"}},
        {"encoder": {"name": "ViT-B-32"}},
        {"encoder": {"pretrained": "openai"}},
        {"encoder": {"precision": "float32"}},
        {"decode": {"mode": "fast"}},
        {"decode": {"max_pixels": 7}},
        {"decode": {"exif_orientation": True}},
        {"labels": []},
        {"labels": [{**LABELS, "name": "b"}]},
        {"labels": [{**LABELS, "top_k": 1}]},
        {"labels": [{**LABELS, "min_score": 0.1}]},
    ],
)
def test_what_shapes_rows_changes_the_digest(values: dict[str, Any]) -> None:
    assert shaped(**values) != shaped()


@pytest.mark.parametrize(
    "values",
    [
        {"input": {"urls": ["b", "c"], "since": "x", "max_shards": 3}},
        {"output": {"url": "elsewhere", "row_group_rows": 16}},
        {"encoder": {"device": "cpu", "batch_size": 3, "compile": True, "cache_dir": "/c"}},
        {"decode": {"workers": "threads", "threads": 3, "image_limit_s": 1.0}},
        {"run": {"backend": "ray", "attempts": 9, "in_flight": 7, "prune": True, "max_seconds": 5}},
        {"ray": {"workers": 9}},
        {"storage": {"endpoint_url": "http://minio:9000"}},
    ],
)
def test_how_the_work_is_done_does_not(values: dict[str, Any]) -> None:
    assert shaped(**values) == shaped()
