"""Names, files and weights: what can be opened, what is refused, and what an opened encoder says of itself."""

from __future__ import annotations

import collections
import json
import logging
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from curator.encoder import Encoder, checkpoints
from curator.encoder.sources import resolve
from curator.errors import ConfigError
from tests.encoder.tiny import CONFIG, model_of, save_tiny


def replaced_weights(directory: Path, target: Path, name: str = "open_clip_model.bin") -> Path:
    """A copy of an encoder without its weights; returns where other weights belong."""
    shutil.copytree(directory, target, ignore=shutil.ignore_patterns("*.safetensors"))
    return target / name


def test_what_an_encoder_says_of_itself(tiny_encoder_dir: Path) -> None:
    encoder = Encoder.open(f"local-dir:{tiny_encoder_dir}", device="cpu", precision="float32")
    assert (encoder.dim, encoder.precision, encoder.device.type) == (32, "float32", "cpu")
    assert encoder.preprocess.size == (32, 32)
    assert encoder.preprocess.mean == (0.48, 0.46, 0.41)
    assert encoder.logit_scale == pytest.approx(1 / 0.07, rel=1e-6)
    assert encoder.logit_bias is None
    stated = encoder.provenance()
    assert stated["encoder_digest"] == encoder.digest
    assert json.loads(stated["preprocess"])["size"] == [32, 32]
    assert all(isinstance(value, str) for value in stated.values())


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_scale_and_bias_keep_float32_at_every_precision(tmp_path: Path, precision: str) -> None:
    encoder = Encoder.open(f"local-dir:{save_tiny(tmp_path, siglip=True)}", device="cpu", precision=precision)
    assert encoder.logit_scale == pytest.approx(10.0, rel=1e-6)
    assert encoder.logit_bias == -10.0
    assert encoder.precision == precision


def test_preprocess_is_the_checkpoint_s(tmp_path: Path) -> None:
    save_tiny(tmp_path, resize_mode="longest", interpolation="bilinear", fill_color=7)
    preprocess = Encoder.open(f"local-dir:{tmp_path}", device="cpu").preprocess
    assert (preprocess.resize_mode, preprocess.interpolation, preprocess.fill_color) == ("longest", "bilinear", 7)


def test_the_digest_is_of_the_weights_and_the_configuration(tiny_encoder_dir: Path, tmp_path: Path) -> None:
    def digest(directory: Path, precision: str = "float32") -> str:
        return Encoder.open(f"local-dir:{directory}", device="cpu", precision=precision).digest

    same = digest(tiny_encoder_dir)
    weights = replaced_weights(tiny_encoder_dir, tmp_path / "as-bin")
    torch.save(load_file(tiny_encoder_dir / "open_clip_model.safetensors"), weights)
    assert digest(weights.parent) == same
    assert digest(tiny_encoder_dir, "bfloat16") == same
    assert digest(save_tiny(tmp_path / "other-weights", seed=1)) != same
    assert digest(save_tiny(tmp_path / "other-mean", mean=[0.5, 0.5, 0.5])) != same


def test_the_digest_is_the_same_in_another_process(tiny_encoder_dir: Path) -> None:
    name = f"local-dir:{tiny_encoder_dir}"
    program = f"from curator.encoder import Encoder; print(Encoder.open({name!r}, device='cpu').digest)"
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert output.stdout.strip() == Encoder.open(name, device="cpu").digest


def test_an_architecture_with_untrained_weights_is_seeded(caplog: pytest.LogCaptureFixture) -> None:
    state = torch.get_rng_state()
    digests = {Encoder.open("ViT-S-32-alt", "random", device="cpu").digest for _ in range(2)}
    assert len(digests) == 1
    assert torch.equal(state, torch.get_rng_state())
    assert "untrained weights" in caplog.text


def test_opening_leaves_the_root_logger_as_it_was(tiny_encoder_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = logging.getLogger()
    before = (list(root.handlers), list(root.filters))
    with caplog.at_level(logging.DEBUG):
        Encoder.open(f"local-dir:{tiny_encoder_dir}", device="cpu")
    assert (root.handlers, root.filters) == before
    assert "initialized randomly" not in caplog.text


class Planted:
    """Unpickling this creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


class FallsBack:
    """Unpickling this raises TypeError, upon which open_clip tries again without ``weights_only``."""

    def __reduce__(self) -> tuple[Any, ...]:
        return collections.OrderedDict, (1, 2, 3)


@pytest.mark.parametrize("writer", ["torch", "legacy", "pickle"])
def test_a_planted_pickle_is_refused_and_does_not_run(tiny_encoder_dir: Path, tmp_path: Path, writer: str) -> None:
    planted = tmp_path / "planted"
    weights = replaced_weights(tiny_encoder_dir, tmp_path / "encoder")
    content = {"state_dict": {"x": torch.ones(1)}, "extra": Planted(planted)}
    if writer == "pickle":
        weights.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, weights, _use_new_zipfile_serialization=writer == "torch")
    with pytest.raises(ConfigError, match=r"open_clip_model\.bin is not plain tensors.*safetensors"):
        Encoder.open(f"local-dir:{weights.parent}", device="cpu")
    assert not planted.exists()


def test_a_pickle_made_for_open_clip_s_fallback_is_refused(tiny_encoder_dir: Path, tmp_path: Path) -> None:
    weights = replaced_weights(tiny_encoder_dir, tmp_path / "encoder")
    torch.save({"first": FallsBack(), "second": Planted(tmp_path / "planted")}, weights)
    with pytest.raises(TypeError):
        torch.load(weights, weights_only=True)
    with pytest.raises(ConfigError, match="not plain tensors"):
        Encoder.open(f"local-dir:{weights.parent}", device="cpu")
    assert not (tmp_path / "planted").exists()


@pytest.mark.parametrize("name", ["open_clip_model.safetensors", "open_clip_model.bin", "open_clip_model.pt"])
def test_broken_weights_are_named(tiny_encoder_dir: Path, tmp_path: Path, name: str) -> None:
    weights = replaced_weights(tiny_encoder_dir, tmp_path / "encoder", name)
    weights.write_bytes(b"<html>404 Not Found</html>")
    with pytest.raises(ConfigError, match=name):
        Encoder.open(f"local-dir:{weights.parent}", device="cpu")


def test_weights_of_another_architecture_do_not_fit(tiny_encoder_dir: Path, tmp_path: Path) -> None:
    weights = replaced_weights(tiny_encoder_dir, tmp_path / "encoder")
    other = {**CONFIG, "embed_dim": 16}
    torch.save(model_of(other).state_dict(), weights)
    with pytest.raises(ConfigError, match="does not fit the architecture"):
        Encoder.open(f"local-dir:{weights.parent}", device="cpu")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "ViT-B-33"}, "'ViT-B-33' is not known; did you mean 'ViT-B-32'"),
        ({"name": "ViT-B-32"}, "needs pretrained weights: one of openai, laion400m"),
        ({"name": "ViT-B-32", "pretrained": "laion2b_s34b_b79"}, "nor a file; did you mean 'laion2b"),
        ({"name": "ViT-B-32", "pretrained": "/no/such.pt"}, "neither a tag of ViT-B-32 nor a file"),
        ({"name": "ViT-S-32-alt", "pretrained": "x"}, "'x' is not a file, and ViT-S-32-alt has no tags"),
        ({"name": "local-dir:/no/such"}, "/no/such/open_clip_config.json does not exist"),
        ({"name": "local-dir:/no/such", "pretrained": "openai"}, "brings its own weights"),
        ({"name": "hf-hub:"}, "names no repository"),
        ({"name": "hf-hub:no/such"}, "'hf-hub:no/such' could not be fetched"),
        ({"precision": "float8"}, "precision 'float8' is not known; use auto, float32"),
        ({"device": "tpu"}, "device 'tpu' is not known"),
        ({"device": "mps"}, "device 'mps' is not known"),
        ({"device": "cuda:99"}, "device 'cuda:99' is not there: this process sees"),
    ],
)
def test_what_cannot_be_opened_says_the_way_out(arguments: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Encoder.open(**arguments)


def test_a_directory_must_hold_one_encoder(tiny_encoder_dir: Path, tmp_path: Path) -> None:
    weights = replaced_weights(tiny_encoder_dir, tmp_path / "encoder", "a.safetensors")
    with pytest.raises(ConfigError, match="no weights file"):
        Encoder.open(f"local-dir:{weights.parent}", device="cpu")
    shutil.copy(tiny_encoder_dir / "open_clip_model.safetensors", weights)
    shutil.copy(weights, weights.with_name("b.safetensors"))
    with pytest.raises(ConfigError, match=r"several weights files \(a.safetensors, b.safetensors\)"):
        Encoder.open(f"local-dir:{weights.parent}", device="cpu")
    shutil.copy(weights, weights.with_name("open_clip_model.safetensors"))
    assert Encoder.open(f"local-dir:{weights.parent}", device="cpu").dim == 32


@pytest.mark.parametrize("content", ["{", "[]", '{"model_cfg": {}}', "{}"])
def test_a_broken_configuration_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "open_clip_config.json").write_text(content)
    with pytest.raises(ConfigError, match=r"open_clip_config\.json"):
        Encoder.open(f"local-dir:{tmp_path}")


def test_code_of_a_repository_is_refused(tiny_encoder_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_encoder_dir, tmp_path, dirs_exist_ok=True)
    text = {**CONFIG["text_cfg"], "hf_tokenizer_name": "x/y", "tokenizer_kwargs": {"trust_remote_code": True}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": {**CONFIG, "text_cfg": text}}))
    with pytest.raises(ConfigError, match="trust_remote_code"):
        Encoder.open(f"local-dir:{tmp_path}")


def test_the_hub_s_cache_serves_without_network(tiny_encoder_dir: Path, tmp_path: Path) -> None:
    repository = tmp_path / "models--curator--tiny"
    shutil.copytree(tiny_encoder_dir, repository / "snapshots" / "0123456789abcdef0123456789abcdef01234567")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0123456789abcdef0123456789abcdef01234567")
    encoder = Encoder.open("hf-hub:curator/tiny", device="cpu", cache_dir=tmp_path)
    assert encoder.digest == Encoder.open(f"local-dir:{tiny_encoder_dir}", device="cpu").digest


@pytest.mark.parametrize(
    ("name", "file", "warned"),
    [
        ("ViT-B-32", "openai.pt", True),
        ("ViT-B-32", "laion.pt", False),
        ("ViT-B-32-quickgelu", "openai.pt", False),
    ],
)
def test_an_openai_file_without_quickgelu_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, file: str, warned: bool
) -> None:
    (tmp_path / file).write_bytes(b"")
    resolve(name, str(tmp_path / file), tmp_path)
    assert ("with QuickGELU" in caplog.text and "use ViT-B-32-quickgelu" in caplog.text) == warned


def test_a_tag_trained_with_quickgelu_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ConfigError, match="ViT-B-32:openai could not be fetched"):
        Encoder.open("ViT-B-32", "openai", device="cpu", cache_dir=tmp_path)
    assert "use ViT-B-32-quickgelu" in caplog.text
    caplog.clear()
    with pytest.raises(ConfigError, match="could not be fetched"):
        Encoder.open("ViT-B-32-quickgelu", "openai", device="cpu", cache_dir=tmp_path)
    assert "QuickGELU" not in caplog.text


def test_the_catalog_lists_what_open_clip_has() -> None:
    listed = checkpoints()
    assert ("ViT-B-32", "laion2b_s34b_b79k") in {(each.name, each.pretrained) for each in listed}
    assert [each.name for each in listed if each.embedded] in (["embedded"], [])
    assert len(listed) > 100


def test_importing_the_room_does_not_import_torch() -> None:
    program = "import sys, curator.encoder, curator.encoder.catalog; print('torch' in sys.modules)"
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert output.stdout.strip() == "False"
