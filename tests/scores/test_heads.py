"""Score heads: published layouts with random weights against numpy, their files, their binding to an encoder, ONNX."""

from __future__ import annotations

import io
import itertools
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save

from curator.errors import ConfigError
from curator.kernels.score_heads import Layer, ScoreModel, collapsed
from curator.scores.head_files import HeadFile, read_head, write_head
from curator.scores.layouts import LAYOUTS, convert
from curator.storage import MemoryStorage
from tests.scores.bundles import saved_model
from tests.scores.opening import DIM, CpuEncoder, images, open_score


def nsfw(
    x: NDArray[Any], mean: NDArray[Any], var: NDArray[Any], layers: list[tuple[NDArray[Any], NDArray[Any]]],
    lookup_cols: tuple[int, ...],
) -> NDArray[Any]:  # fmt: skip
    """The naive form of LAION's NSFW head: kernels are [in, out]."""
    x = np.array(x, float)
    x[:, lookup_cols] = 0.0
    h = (x - mean) / np.maximum(np.sqrt(var), 1e-7)
    for i, (kernel, bias) in enumerate(layers):
        h = h @ kernel + bias
        if i + 1 < len(layers):
            h = np.maximum(h, 0)
    return 1 / (1 + np.exp(-h[:, 0]))


def random_layers(widths: tuple[int, ...], seed: int = 0) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """(weight [out, in], bias) of every layer, of a size that keeps numbers about 1."""
    rng = np.random.default_rng(seed)
    return [
        ((rng.normal(size=(b, a)) * np.sqrt(2 / a)).astype(np.float32), (rng.normal(size=b) * 0.3).astype(np.float32))
        for a, b in itertools.pairwise(widths)
    ]


def unit(n: int, dim: int) -> NDArray[Any]:
    x = np.random.default_rng(1).standard_normal((n, dim))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def run(head: HeadFile, x: NDArray[Any]) -> NDArray[Any]:
    again = read_head(write_head(head), "head")
    assert write_head(again) == write_head(head)
    return again.model(torch.from_numpy(x).float()).numpy()


def naive_mlp(x: NDArray[Any], layers: list[tuple[NDArray[Any], NDArray[Any]]], silent: int, relu: bool = True):
    h = x
    for number, (weight, bias) in enumerate(layers):
        h = h @ weight.T.astype(float) + bias
        if relu and number < len(layers) - silent:
            h = np.maximum(h, 0)
    return h


@pytest.mark.parametrize("layout", ["nsfw_l14", "nsfw_b32"])
def test_keras_nsfw_heads_from_a_saved_model(layout: str) -> None:
    chosen, x = LAYOUTS[layout], unit(5, LAYOUTS[layout].widths[0])
    layers, dim = random_layers(chosen.widths), chosen.widths[0]
    rng = np.random.default_rng(2)
    mean, variance = rng.normal(size=dim).astype(np.float32) * 0.01, rng.uniform(0.0005, 0.003, dim).astype(np.float32)
    variance[chosen.zeroed[0]] = mean[chosen.zeroed[0]] = 0
    tensors: dict[str, Any] = {
        "layer_with_weights-1/mean": mean[None],
        "layer_with_weights-1/variance": variance[None],
        "layer_with_weights-1/count": np.array(5, np.int64),
    }
    for number, (weight, bias) in enumerate(layers):
        tensors[f"layer_with_weights-{number + 2}/kernel"] = np.ascontiguousarray(weight.T)
        tensors[f"layer_with_weights-{number + 2}/bias"] = bias
    head = convert(saved_model(tensors), "nsfw.zip", layout)
    assert head.encoder == chosen.encoder
    expected = nsfw(x, mean, variance, [(w.T, b) for w, b in layers], chosen.zeroed)
    np.testing.assert_allclose(run(head, x)[:, 0], expected, rtol=1e-4, atol=1e-6)


def state_dict(layers: list[tuple[NDArray[Any], NDArray[Any]]], places: list[int]) -> dict[str, torch.Tensor]:
    out = {}
    for place, (weight, bias) in zip(places, layers, strict=True):
        out[f"layers.{place}.weight"], out[f"layers.{place}.bias"] = torch.tensor(weight), torch.tensor(bias)
    return out


def test_aesthetic_v2_is_one_affine_map() -> None:
    layers = random_layers(LAYOUTS["aesthetic_v2"].widths)
    buffer = io.BytesIO()
    torch.save(state_dict(layers, [0, 2, 4, 6, 7]), buffer)
    head = convert(buffer.getvalue(), "sac+logos+ava1-l14-linearMSE.pth", "aesthetic_v2")
    x = unit(5, 768)
    expected = naive_mlp(x, layers, silent=1, relu=False)
    np.testing.assert_allclose(run(head, x), expected, rtol=1e-4, atol=1e-5)
    one = collapsed(head.model.layers)
    assert [tuple(layer.weight.shape) for layer in one] == [(1, 768)]
    np.testing.assert_allclose(ScoreModel(one)(torch.from_numpy(x)).numpy(), expected, rtol=1e-4, atol=1e-5)


def test_other_published_shapes() -> None:
    h14, x = random_layers(LAYOUTS["nsfw_h14"].widths), unit(3, 1024)
    head = convert(save(state_dict(h14, [0, 3, 6, 9, 12, 15, 16])), "h14.safetensors", "nsfw_h14")
    np.testing.assert_allclose(run(head, x), naive_mlp(x, h14, silent=2), rtol=1e-4, atol=1e-5)
    assert len(collapsed(head.model.layers)) == 6

    watermark, x = random_layers((1536, 625, 256, 2)), unit(3, 1536)
    head = convert(save(state_dict(watermark, [0, 3, 5])), "watermark.safetensors", "watermark")
    logits = naive_mlp(x, watermark, silent=1)
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(run(head, x), softmax, rtol=1e-4)
    assert head.columns[""][0] == 0

    weight, bias = random_layers((8, 1))[0]
    linear = convert(save({"weight": torch.tensor(weight), "bias": torch.tensor(bias)}), "v1.safetensors", "logistic")
    x = unit(3, 8)
    np.testing.assert_allclose(run(linear, x), 1 / (1 + np.exp(-(x @ weight.T + bias))), rtol=1e-5)


def test_columns_of_a_head_with_several_outputs() -> None:
    (weight, bias), encoder = random_layers((DIM, 3))[0], CpuEncoder(dim=DIM)
    model = ScoreModel((Layer(torch.tensor(weight), torch.tensor(bias)),), "softmax")
    head = HeadFile(model, {"": (2, "third"), "b": (0, "first")}, encoder.digest)
    storage = MemoryStorage()
    storage.write("memory://h/head.safetensors", write_head(head))
    opened = open_score("head", storage=storage, file="memory://h/head.safetensors", threshold=0.4)
    assert [(each.name, each.kind) for each in opened.columns] == [
        ("it", "score"), ("it_b", "score"), ("it_over", "flag"),
    ]  # fmt: skip
    batch = images([None] * 6)
    logits = batch.vectors.numpy() @ weight.T + bias
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    values = opened(batch)
    np.testing.assert_allclose(values["it"], p[:, 2], rtol=1e-5)
    np.testing.assert_allclose(values["it_b"], p[:, 0], rtol=1e-5)
    assert values["it_over"].tolist() == (p[:, 2] >= 0.4).tolist()
    with pytest.raises(ConfigError, match="is for an encoder with the digest fake, the run's has other"):
        open_score(
            "head", storage=storage, encoder=CpuEncoder(dim=DIM, digest="other"), file="memory://h/head.safetensors"
        )
    with pytest.raises(ConfigError, match="takes 32 numbers, the encoder gives 8"):
        open_score("head", storage=storage, encoder=CpuEncoder(dim=8), file="memory://h/head.safetensors")
    unbound = HeadFile(model, head.columns)
    storage.write("memory://h/unbound.safetensors", write_head(unbound))
    with pytest.raises(ConfigError, match="does not say whose embeddings"):
        open_score("head", storage=storage, file="memory://h/unbound.safetensors")
    for digest in ("any", "fake"):
        open_score("head", storage=storage, file="memory://h/unbound.safetensors", encoder_digest=digest)


def test_onnx_heads_equal_the_same_head_in_torch() -> None:
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    layers = random_layers((DIM, 6, 2))
    nodes, arrays, value = [], [], "x"
    for number, (weight, bias) in enumerate(layers):
        arrays += [numpy_helper.from_array(weight, f"w{number}"), numpy_helper.from_array(bias, f"b{number}")]
        nodes.append(helper.make_node("Gemm", [value, f"w{number}", f"b{number}"], [f"g{number}"], transB=1))
        nodes.append(helper.make_node("Relu" if number == 0 else "Sigmoid", [f"g{number}"], [f"a{number}"]))
        value = f"a{number}"
    graph = helper.make_graph(
        nodes,
        "head",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", DIM])],
        [helper.make_tensor_value_info(value, TensorProto.FLOAT, ["n", 2])],
        arrays,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    storage, url = MemoryStorage(), "memory://h/head.onnx"
    storage.write(url, model.SerializeToString())
    with pytest.raises(ConfigError, match="does not say whose embeddings"):
        open_score("head", storage=storage, file=url)
    helper.set_model_props(model, {"encoder_digest": "fake"})
    storage.write(url, model.SerializeToString())
    onnx.checker.check_model(model)
    opened = open_score("head", storage=storage, file=url, output=1, threshold=0.5)
    batch = images([None] * 4)
    same = ScoreModel(
        tuple(Layer(torch.tensor(w), torch.tensor(b), a) for (w, b), a in zip(layers, ("relu", "none"), strict=True)),
        "sigmoid",
    )
    expected = same(batch.vectors)[:, 1].numpy()
    values = opened(batch)
    np.testing.assert_allclose(values["it"], expected, rtol=1e-5)
    assert values["it_over"].tolist() == (expected >= 0.5).tolist()
    with pytest.raises(ConfigError, match="there is no output 2"):
        open_score("head", storage=storage, file=url, output=2)(batch)
    storage.write("memory://h/bad.onnx", b"nonsense")
    with pytest.raises(ConfigError, match="not a model that ONNX Runtime"):
        open_score("head", storage=storage, file="memory://h/bad.onnx")


def test_files_that_are_no_heads_say_why() -> None:
    storage = MemoryStorage()
    plain = save({"0.weight": torch.zeros(1, DIM), "0.bias": torch.zeros(1)})
    storage.write("memory://h/plain.safetensors", plain)
    storage.write("memory://h/junk.safetensors", b"junk")
    for url, message in [
        ("memory://h/plain.safetensors", "curator head convert"),
        ("memory://h/junk.safetensors", "is not a safetensors file"),
        ("memory://h/none.safetensors", "does not exist"),
        ("builtin:none", "does not come with Curator"),
    ]:
        with pytest.raises(ConfigError, match=message):
            open_score("head", storage=storage, file=url)
    for data, name, layout, message in [
        (plain, "a.safetensors", "nonsense", "layout 'nonsense' is not known"),
        (plain, "a.safetensors", "aesthetic_v2", "layout aesthetic_v2 has"),
        (save({"0.weight": torch.zeros(2, 4), "1.weight": torch.zeros(1, 3)}), "a.safetensors", "mlp", "layer 1 has"),
        (save({"0.weight": torch.zeros(2, 4)}), "a.safetensors", "mlp", "layout mlp has one score"),
        (save({"other": torch.zeros(2, 4)}), "a.safetensors", "mlp", "has no layers"),
        (b"junk", "a.pth", "linear", "not a file of plain weights"),
        (b"junk", "a.zip", "nsfw_b32", "not a zip of a SavedModel"),
    ]:
        with pytest.raises(ConfigError, match=message):
            convert(data, name, layout)


def test_a_head_is_not_bound_to_another_encoder_by_converting_it() -> None:
    weights = save({"0.weight": torch.zeros(1, 4), "0.bias": torch.zeros(1)})
    own = write_head(convert(weights, "a.safetensors", "linear", encoder_digest="abc", encoder="mine"))
    with pytest.raises(ConfigError, match=r"is a head already, for the encoder mine \(abc\)"):
        convert(own, "own.safetensors", "linear", encoder_digest="def")


def test_a_pickle_with_code_in_it_is_refused() -> None:
    class Evil:
        def __reduce__(self):
            return (print, ("never",))

    buffer = io.BytesIO()
    torch.save({"weight": Evil()}, buffer)
    with pytest.raises(ConfigError, match="not a file of plain weights"):
        convert(buffer.getvalue(), "evil.pth", "linear")
