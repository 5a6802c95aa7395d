import math

import torch

from curator.kernels.noise import AngleNoise
from curator.kernels.vectors import l2_normalize

VECTORS = l2_normalize(torch.randn(20_000, 64, generator=torch.Generator().manual_seed(1)))


def angles(noise: AngleNoise, seed: int = 0) -> torch.Tensor:
    moved = noise(VECTORS, torch.Generator().manual_seed(seed))
    torch.testing.assert_close(moved.norm(dim=1), torch.ones(len(moved)))
    return torch.rad2deg((moved * VECTORS).sum(dim=1).clamp(-1, 1).acos())


def test_turned_vectors_have_angles_spread_evenly_between_the_bounds() -> None:
    found = angles(AngleNoise(turned=1.0))
    assert 45 - 1e-2 <= found.min() < 45.1
    assert 74.9 < found.max() <= 75 + 1e-2
    assert abs(found.mean() - 60) < 0.2
    assert abs(found.std() - 30 / math.sqrt(12)) < 0.2


def test_gaussian_noise_leaves_the_angle_that_its_length_says() -> None:
    for deviation in (0.5, 1.75, 3.25):
        found = angles(AngleNoise(deviation, turned=0.0))
        assert abs(found.mean() - math.degrees(math.atan(deviation))) < 1.0


def test_the_share_that_turns_is_the_one_asked_for() -> None:
    found = angles(AngleNoise(0.0, turned=0.15))  # what does not turn stays where it is
    assert abs((found > 40).float().mean() - 0.15) < 0.01
    assert (found < 0.1).float().mean() > 0.83


def test_directions_are_all_alike_and_the_generator_decides() -> None:
    noise = AngleNoise(turned=0.5)
    moved = noise(VECTORS[:1].expand(20_000, -1), torch.Generator().manual_seed(3))
    across = moved - (moved @ VECTORS[0])[:, None] * VECTORS[0]
    assert l2_normalize(across).mean(dim=0).norm() < 0.02
    assert torch.equal(
        noise(VECTORS, torch.Generator().manual_seed(3)), noise(VECTORS, torch.Generator().manual_seed(3))
    )
