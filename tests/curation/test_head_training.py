"""A head made of a run: the solution is the optimum, groups are not torn apart, and it is bound to the encoder."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from curator.cli import app
from curator.curation.head_training import train_head
from curator.errors import ConfigError
from curator.kernels.logistic import area_under_roc, balanced_accuracy, fit_logistic
from curator.scores.head_files import read_head, write_head
from curator.storage import MemoryStorage, open_storage
from tests.curation.made_runs import Row, make_run
from tests.scores.opening import CpuEncoder, images, open_score


def test_the_fit_is_the_optimum() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 5))
    y = (x[:, 0] + 0.5 * rng.normal(size=200) > 0.8).astype(float)
    weight, bias = fit_logistic(x, y, 0.01)
    each = np.where(y == 1, 0.5 / y.sum(), 0.5 / (1 - y).sum())
    p = 1 / (1 + np.exp(-(x @ weight + bias)))
    np.testing.assert_allclose(x.T @ (each * (p - y)) + 0.01 * weight, 0, atol=1e-8)
    assert abs((each * (p - y)).sum()) < 1e-8
    separable, _ = fit_logistic(np.array([[1.0], [-1.0]]), np.array([1.0, 0.0]), 1e-5)
    assert 1 < separable[0] < 100
    for answers, l2, message in [(np.zeros(200), 0.1, "a class has no rows"), (y, 0.0, "must be positive")]:
        with pytest.raises(ValueError, match=message):
            fit_logistic(x, answers, l2)


def test_measures_against_counting() -> None:
    scores, y = np.array([0.1, 0.4, 0.4, 0.5, 0.9]), np.array([0.0, 1.0, 0.0, 0.0, 1.0])
    pairs = [(p > n) + 0.5 * (p == n) for p in scores[y == 1] for n in scores[y == 0]]
    assert area_under_roc(scores, y) == pytest.approx(np.mean(pairs))
    assert balanced_accuracy(scores, y) == pytest.approx((1 / 2 + 2 / 3) / 2)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows whose embedding is one of four axes; those of the first two are "yes", and six rows have no answer."""

    def row(n: int) -> Row:
        metadata = {"kind": "yes" if n % 4 < 2 else "no", "group": n // 8} if n % 20 else {}
        return Row(None, (), (), n % 7 != 0, bytes([n]) * 32, metadata=json.dumps(metadata).encode())

    return make_run(tmp_path_factory.mktemp("heads") / "run", [[row(n) for n in range(60)] for _ in range(2)])


def test_a_head_of_a_run(run: Path) -> None:
    storage = open_storage()
    head = train_head(str(run), storage, labels="json.kind", positive="yes")
    assert head.encoder_digest == "made"
    known = 2 * sum(1 for n in range(60) if n % 7 and n % 20)
    assert head.card["rows"]["taught"] + head.card["rows"]["held_out"] == known
    assert head.card["held_out"] == {"accuracy": 1.0, "balanced_accuracy": 1.0, "auc": 1.0}
    np.testing.assert_array_equal(head.model(torch.eye(4))[:, 0].numpy() > 0.5, [True, True, False, False])
    assert write_head(train_head(str(run), storage, labels="json.kind", positive="yes")) == write_head(head)
    memory = MemoryStorage()
    memory.write("memory://h/it.safetensors", write_head(head))
    opened = open_score(
        "head",
        storage=memory,
        encoder=CpuEncoder(dim=4, digest="made"),
        file="memory://h/it.safetensors",
        threshold=0.5,
    )
    assert opened(images([None] * 4, vectors=torch.eye(4)))["it_over"].tolist() == [True, True, False, False]


def test_groups_stay_together(run: Path) -> None:
    head = train_head(str(run), open_storage(), labels="json.kind", positive="yes", group="json.group")
    assert head.card["groups"] == 8
    held_out = head.card["rows"]["held_out"]
    sizes = [2 * sum(1 for n in range(8 * g, min(8 * g + 8, 60)) if n % 7 and n % 20) for g in range(8)]
    sums = {0}
    for size in sizes:
        sums |= {size + each for each in sums}
    assert held_out in sums
    assert held_out % 2 == 0, "the same group in two shards is one group"


def test_what_cannot_be_taught_says_why(run: Path) -> None:
    for labels, positive, message in [
        ("json.kind", "maybe", "0 of .* are positive"),
        ("json.nothing", "yes", "no row has a label"),
        ("image.format", "yes", "^--labels image.format: is neither caption, nor json"),
    ]:
        with pytest.raises(ConfigError, match=message):
            train_head(str(run), open_storage(), labels=labels, positive=positive)
    with pytest.raises(ConfigError, match=r"^--group site: is neither caption, nor json"):
        train_head(str(run), open_storage(), labels="json.kind", positive="yes", group="site")


def test_the_commands(run: Path, tmp_path: Path) -> None:
    def curator(*arguments: str) -> dict[str, object]:
        told = CliRunner().invoke(app, ["head", *arguments, "--json"])
        assert told.exit_code == 0, told.output
        return json.loads(told.stdout)

    made = str(tmp_path / "made.safetensors")
    card = curator("train", str(run), "--labels", "json.kind", "--positive", "yes", "--output", made)
    assert card["held_out"]["auc"] == 1.0
    first = read_head((tmp_path / "made.safetensors").read_bytes(), "made")
    (layer,) = first.model.layers
    save_file({"0.weight": layer.weight, "0.bias": layer.bias}, tmp_path / "published.safetensors")
    again = str(tmp_path / "again.safetensors")
    convert = ["convert", str(tmp_path / "published.safetensors"), "--layout", "logistic", "--output", again]
    assert curator(*convert, "--encoder-digest", "other")["encoder_digest"] == "other"
    second = read_head((tmp_path / "again.safetensors").read_bytes(), "again")
    assert torch.equal(first.model(torch.eye(4)), second.model(torch.eye(4)))


def test_the_head_that_ships_is_for_the_encoder_that_ships() -> None:
    from curator.encoder import Encoder
    from curator.scores.head import ScoreHead

    encoder = Encoder.open("embedded", precision="float32")
    path = Path(sys.modules[ScoreHead.__module__].__file__).with_name("heads") / "photo.safetensors"
    head = read_head(path.read_bytes(), "photo")
    assert (head.encoder_digest, head.model.dim) == (encoder.digest, encoder.dim)
    assert 0.5 < head.card["held_out"]["balanced_accuracy"] < 1
