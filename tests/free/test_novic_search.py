import itertools
import random

import pytest
import torch
from torch import Tensor

from curator.free.novic.model import END, Architecture, Dropout, ObjectDecoder
from curator.free.novic.search import score_all, search, search_freely
from curator.free.novic.weights import padded
from curator.kernels.trie import Trie
from curator.kernels.vectors import l2_normalize

SMALL = Architecture(dim=16, tokens=12, longest=6, width=32, layers=2, heads=4, feedforward=16)


def decoder(seed: int = 0, architecture: Architecture = SMALL) -> ObjectDecoder:
    torch.manual_seed(seed)
    return ObjectDecoder(architecture).eval()


def vectors(count: int = 5, seed: int = 0) -> Tensor:
    return l2_normalize(torch.randn(count, 16, generator=torch.Generator().manual_seed(seed)))


def sequences(seed: int, count: int = 120) -> list[tuple[int, ...]]:
    rng = random.Random(seed)
    return sorted({tuple(rng.randint(1, 11) for _ in range(rng.randint(1, 5))) for _ in range(count)})


def test_the_paper_s_sizes_have_the_paper_s_parameters() -> None:
    model = ObjectDecoder(Architecture(dim=768, tokens=6900, longest=8))
    assert round(sum(weight.numel() for weight in model.parameters()) / 1e6, 1) == 12.2
    layers = sum(weight.numel() for weight in (*model.layers.parameters(), *model.norm.parameters()))
    assert round(layers / 1e6, 2) == 7.08
    assert model.project.weight.numel() == 768 * 4 * 512
    assert not [name for name, _ in model.named_parameters() if "bias" in name]


def test_the_prefix_sees_itself_and_all_else_what_is_before() -> None:
    mask = decoder().mask(7)
    expected = [[(row < 4 and column < 4) or column <= row for column in range(7)] for row in range(7)]
    assert mask.tolist() == expected


def test_a_token_changes_only_what_follows_it() -> None:
    model, tokens = decoder(), torch.tensor([[1, 2, 3, 4, 5]])
    before = model(vectors(1), tokens)
    assert before.shape == (1, 6, 32)
    tokens[0, 2] = 9
    after = model(vectors(1), tokens)
    assert torch.equal(before[:, :3], after[:, :3])
    assert not torch.isclose(before[:, 3:], after[:, 3:]).all(dim=2).any()


def test_going_on_from_the_cache_equals_reading_all_again() -> None:
    model, tokens = decoder(), torch.randint(1, 12, (5, 5))
    whole = model(vectors(), tokens)
    hidden, cache = model.begin(vectors())
    torch.testing.assert_close(hidden, whole[:, 0])
    order = torch.tensor([4, 0, 0, 2])
    cache = cache.of(order)
    for place in range(5):
        hidden, cache = model.proceed(tokens[order, place], cache)
        torch.testing.assert_close(hidden, whole[order, place + 1], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_a_beam_as_wide_as_the_guide_is_exact(seed: int, temperature: float) -> None:
    model, nouns = decoder(seed), sequences(seed)
    every = score_all(model, vectors(), padded(nouns, 5), temperature=temperature)
    numbers, scores = search(model, vectors(), Trie.build(nouns, END), len(nouns) + 3, temperature=temperature)
    assert numbers.shape == (5, len(nouns))
    assert sorted(numbers[0].tolist()) == list(range(len(nouns)))
    torch.testing.assert_close(scores, every.gather(1, numbers), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(scores, every.sort(dim=1, descending=True).values, atol=1e-4, rtol=1e-4)


def test_guidance_renormalises_nothing() -> None:
    model = decoder()
    every = score_all(model, vectors(), padded([[1], [2]], 5)).exp().sum(dim=1)
    assert (every < 0.9).all()
    probabilities = model.logits(model(vectors(), torch.tensor([[1]]).expand(5, -1))).softmax(dim=2)
    alone = score_all(model, vectors(), padded([[1]], 5)).exp()[:, 0]
    torch.testing.assert_close(alone, probabilities[:, 0, 1] * probabilities[:, 1, END])


@torch.no_grad()
def naive(model: ObjectDecoder, vector: Tensor, nouns: list[tuple[int, ...]], width: int, exponent: float) -> list:
    """Beam search as one says it: one image, lists, no cache."""
    beams: list[tuple[float, float, tuple[int, ...], bool]] = [(0.0, 0.0, (), False)]
    while any(not done for *_, done in beams):
        reached = [beam for beam in beams if beam[3]]
        for _, score, prefix, done in beams:
            if done:
                continue
            hidden = model(vector[None], torch.tensor([prefix], dtype=torch.long).view(1, -1))[0, -1]
            log_p = model.logits(hidden).log_softmax(dim=0)
            following = {
                noun[len(prefix)] if len(noun) > len(prefix) else END for noun in nouns if noun[: len(prefix)] == prefix
            }
            for token in following:
                total, length = score + float(log_p[token]), len(prefix) + 1
                word = prefix if token == END else (*prefix, token)
                reached.append((total * length**-exponent, total, word, token == END))
        beams = sorted(reached, key=lambda beam: -beam[0])[:width]
    return [(nouns.index(prefix), score) for _, score, prefix, _ in beams]


@pytest.mark.parametrize(("width", "exponent"), [(1, 0.0), (3, 0.0), (4, 1.0), (10, 0.5)])
def test_beams_are_those_of_a_naive_search(width: int, exponent: float) -> None:
    model, nouns = decoder(7), sequences(7, 60)
    numbers, scores = search(model, vectors(), Trie.build(nouns, END), width, length_exponent=exponent)
    for row, vector in enumerate(vectors()):
        expected = naive(model, vector, nouns, width, exponent)
        assert numbers[row].tolist() == [number for number, _ in expected]
        torch.testing.assert_close(scores[row], torch.tensor([score for _, score in expected]), atol=1e-4, rtol=1e-4)


def test_without_a_guide_a_wide_beam_finds_every_sequence_at_its_exact_score() -> None:
    model = decoder(architecture=Architecture(dim=16, tokens=4, longest=4, width=32, layers=1, heads=2, feedforward=8))
    nouns = [word for length in (1, 2, 3) for word in itertools.product((1, 2, 3), repeat=length)]
    every = score_all(model, vectors(), padded(nouns, 3))
    tokens, scores = search_freely(model, vectors(), len(nouns))
    for row in range(5):
        found = [nouns.index(tuple(token for token in word if token != END)) for word in tokens[row].tolist()]
        torch.testing.assert_close(scores[row], every[row, found], atol=1e-4, rtol=1e-4)
        assert sorted(found) == list(range(len(nouns)))


def test_dropout_draws_from_its_own_generator() -> None:
    x = torch.ones(1000)
    first = Dropout(0.25, torch.Generator().manual_seed(1))(x)
    assert torch.equal(first, Dropout(0.25, torch.Generator().manual_seed(1))(x))
    torch.testing.assert_close(first.unique(), torch.tensor([0.0, 4 / 3]))
    assert abs(float((first == 0).float().mean()) - 0.25) < 0.05
    assert torch.equal(Dropout()(x), x)
