"""Curator as a library: the main job as one call, and each room's front door alone."""

from __future__ import annotations

import json
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import curator
from curator.errors import ConfigError, SampleError, ShardError
from tests.builders import make_image, make_jpeg, make_samples, write_tar


def test_label_and_open_dataset(tmp_path: Path, tiny_encoder_dir: Path) -> None:
    write_tar(tmp_path / "shards" / "0.tar", make_samples(7))
    (tmp_path / "labels.txt").write_text("dog\ncat\n")
    told = []
    summary = curator.label(
        str(tmp_path / "shards"),
        tmp_path / "out",
        vocabulary=tmp_path / "labels.txt",
        encoder={"name": f"local-dir:{tiny_encoder_dir}", "precision": "float32"},
        decode={"threads": 1},
        observe=told.append,
    )
    assert (summary.status, summary.totals["rows"]) == ("complete", 7)
    assert told[-1].settled == 1
    table = curator.open_dataset(tmp_path / "out").to_table(columns=["key", "labels", "labels_abstained"])
    assert table.num_rows == 7
    assert {len(labels) for labels in table["labels"].to_pylist()} == {2}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"score": ["clip_score"]}, "unknown key 'score'; did you mean 'scores'"),
        ({"encoder": "embedded"}, r"encoder is \'embedded\'; it must be a table of settings: write \[encoder\] above"),
        ({"scores": "clip_score"}, "scores: give a list"),
        ({"input": 5}, "input: give a path or url, or a list of them, not 5"),
        ({"input": {"urls": "a"}}, "input: give a path or url, or a list"),
        ({"input": []}, "no input"),
        ({"output": 7}, "output: give a path or url, not 7"),
        ({"output": None}, "no output"),
        ({"config": 5}, "config: give a path or url, not 5"),
        ({"config": "none.toml"}, "none.toml: no such config file"),
        ({"config": {"encoder": {"nam": "x"}}}, "unknown key 'encoder.nam'; did you mean 'name'"),
        ({"overrides": "run.attempts=1"}, r"overrides: give a list, for example \['run.attempts=1'\]"),
        ({"observe": 5}, "observe: give a function"),
        ({"vocabulary": []}, r"labels\.0\.vocabulary is \[\]; it must be a file of labels, or a list such as"),
        ({"vocabulary": np.array(["dog", "cat"])}, r"vocabulary is array\(.*; it must be a file of labels"),
        ({"vocabulary": ["dog", "dog"]}, "label 'dog' at entry 1 and entry 2"),
        ({"vocabulary": ["dog", 3]}, "entry 2 is 3; a label is a name"),
        ({"vocabulary": "none.txt"}, r"none\.txt does not exist"),
    ],
)
def test_arguments_that_do_not_fit_are_settings_at_fault(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        curator.label(**{"input": "shards", "output": "out", **given})


def test_a_vocabulary_may_be_a_list_and_settings_a_dict(tmp_path: Path, tiny_encoder_dir: Path) -> None:
    write_tar(tmp_path / "0.tar", make_samples(3))
    config = {
        "encoder": {"name": f"local-dir:{tiny_encoder_dir}", "batch_size": 2},
        "labels": [{"name": "kinds", "vocabulary": ["red", {"name": "blue", "aliases": ["azure"]}], "top_k": 1}],
    }
    for _ in range(2):  # and again, as the same run
        summary = curator.label(
            tmp_path / "0.tar",
            tmp_path / "out",
            vocabulary=("dog", "cat"),
            config=config,
            encoder={"precision": "float32"},
        )
        assert (summary.status, summary.totals["rows"]) == ("complete", 3)
    (tmp_path / "labels.txt").write_text("dog\ncat\n")  # what it says counts, not where it stands
    again = curator.label(
        [tmp_path / "0.tar"], tmp_path / "out", vocabulary=tmp_path / "labels.txt", config=config,
        encoder={"precision": "float32"},
    )  # fmt: skip
    assert again.this_run["rows"] == 0
    other = tmp_path / "other"
    shutil.copytree(tiny_encoder_dir, other)
    there = {"name": f"local-dir:{other}", "precision": "float32", "batch_size": 2}
    moved: dict[str, Any] = {"vocabulary": ["dog", "cat"], "config": {**config, "encoder": there}}
    assert curator.label(tmp_path / "0.tar", tmp_path / "out", **moved).status == "complete"
    described = json.loads((other / "open_clip_config.json").read_text())
    described["preprocess_cfg"] = {**described.get("preprocess_cfg", {}), "mean": [0.1, 0.2, 0.3]}
    (other / "open_clip_config.json").write_text(json.dumps(described))
    with pytest.raises(ConfigError, match="encoder_digest differ"):
        curator.label(tmp_path / "0.tar", tmp_path / "out", **moved)
    columns = curator.open_dataset(tmp_path / "out").schema.names
    assert {"kinds", "labels"} <= set(columns)
    relabelled = curator.relabel(tmp_path / "out", tmp_path / "new", vocabulary=["a", "b"])
    assert relabelled.status == "complete"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda path: curator.open_dataset(path / "none"), "holds no part"),
        (lambda path: curator.open_dataset(path), "holds no part"),
        (lambda path: curator.open_dataset("s3://b/out"), "only local outputs"),
        (lambda path: curator.open_dataset(None), "output: give a path or url, not None"),
        (lambda path: curator.load_config(5), "config: give a path or url, not 5"),
        (lambda path: curator.load_config("memory://library/none.toml"), "the config cannot be read"),
        (lambda path: curator.load_config(overrides="a=b"), "overrides: give a list"),
        (lambda path: curator.relabel(None, path / "out"), "run: give a path or url, not None"),
        (lambda path: curator.expand(5), "5 names no shard"),
        (lambda path: curator.expand([path, 5]), "5 names no shard"),
        (lambda path: curator.expand(path), "stands for no shard"),
        (lambda path: curator.read_samples(5), "read_samples takes one path, url or open stream"),
        (lambda path: curator.open_storage({"region": "x"}), "open_storage takes StorageOptions"),
        (lambda path: curator.Encoder.open(path), "is not a name; for a directory write 'local-dir:PATH'"),
        (lambda path: curator.Decoder(None, mode="quick"), "decode mode 'quick' is not known"),
    ],
)
def test_front_doors_say_what_they_take(tmp_path: Path, call: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        call(tmp_path)


def test_a_damaged_part_says_how_to_find_it(tmp_path: Path) -> None:
    (tmp_path / "part-0.parquet").write_bytes(b"no parquet")
    with pytest.raises(ShardError, match=r"a part cannot be read .*curator verify"):
        curator.open_dataset(tmp_path)


def test_an_encoder_says_what_it_takes(tmp_path: Path, tiny_encoder_dir: Path) -> None:
    encoder = curator.Encoder.open(f"local-dir:{tiny_encoder_dir}", precision="float32")
    (tmp_path / "a.txt").write_text("a picture")
    for one in ("a.jpg", make_image(), np.zeros((4, 4, 3), np.uint8), torch.zeros(3, 4, 4), 5):
        with pytest.raises(TypeError, match=r"write embed\(\[image\]\)"):
            encoder.embed(one)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="not NoneType"):
        encoder.embed([None])  # type: ignore[list-item]
    with pytest.raises(SampleError, match=r"a\.txt: no image format begins with b'a pictur'"):
        encoder.embed([tmp_path / "a.txt"])
    for text in ("a dog", None):
        with pytest.raises(TypeError, match=r"write embed_text\(\[text\]\)"):
            encoder.embed_text(text)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="embed_text takes texts, not int"):
        encoder.embed_text(["a", 5])  # type: ignore[list-item]


def test_a_thread_may_label(tmp_path: Path, tiny_encoder_dir: Path) -> None:
    """As a notebook's or a server's does: no signal handler is set where none can be."""
    write_tar(tmp_path / "0.tar", make_samples(3))
    encoder = {"name": f"local-dir:{tiny_encoder_dir}", "precision": "float32"}
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(curator.label, tmp_path / "0.tar", tmp_path / "out", encoder=encoder)
        assert done.result(timeout=60).status == "complete"


def test_rooms_alone(tmp_path: Path, tiny_encoder_dir: Path) -> None:
    shard = write_tar(tmp_path / "0.tar", make_samples(3))
    samples = list(curator.read_samples(str(shard)))
    assert [sample.fields for sample in curator.read_samples(shard)] == [sample.fields for sample in samples]
    assert curator.expand(tmp_path) == curator.expand([str(shard)]) == curator.expand(str(shard))
    assert [sample.key for sample in samples] == ["000000", "000001", "000002"]

    encoder = curator.Encoder.open(f"local-dir:{tiny_encoder_dir}", precision="float32")
    decoder = curator.Decoder(encoder.preprocess)
    decoded = decoder(samples[0].fields["jpg"])
    assert decoded.pixels.shape == (3, *encoder.preprocess.size)
    (tmp_path / "a.jpg").write_bytes(make_jpeg(seed=5))
    vectors = encoder.embed([make_image(seed=1), tmp_path / "a.jpg", make_jpeg(seed=2)])
    assert vectors.shape == (3, encoder.dim)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3))
    np.testing.assert_allclose(encoder.embed_text(["a dog"]).norm().item(), 1, rtol=1e-5)


def test_unknown_names_say_what_there_is() -> None:
    with pytest.raises(AttributeError, match=r"it exports .*label"):
        _ = curator.lable
    assert {"label", "__version__"} <= set(dir(curator))
    assert re.fullmatch(r"\d+\.\d+.*", curator.__version__)
