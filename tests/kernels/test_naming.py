"""Votes and distractors against counting one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from curator.kernels.naming import against, word_votes


@given(seed=st.integers(0, 1000), neighbours=st.integers(0, 4))
def test_votes_are_shares_of_the_voters(seed: int, neighbours: int) -> None:
    generator = np.random.default_rng(seed)
    own = np.stack([generator.permutation(6)[:2] for _ in range(3)])
    others = np.stack([[generator.permutation(6)[:2] for _ in range(neighbours)] for _ in range(3)])
    others = others.reshape(3, neighbours, 2)
    valid = generator.random((3, neighbours)) < 0.7
    found = word_votes(torch.from_numpy(own), torch.from_numpy(others), torch.from_numpy(valid), 6)
    for row in range(3):
        voters = [own[row], *others[row][valid[row]]]
        shares = [np.mean([word in voter for voter in voters]) for word in range(6)]
        assert found[row].tolist() == pytest.approx(shares)


def test_a_proposal_competes_with_its_distractors_but_not_with_itself() -> None:
    others = torch.tensor([[0.1, 0.3, 0.2], [0.1, 0.3, 0.2]])
    probability, beaten = against(torch.tensor([0.25, 0.25]), others, scale=10.0, itself=torch.tensor([-1, 1]))
    powers = np.exp(10 * np.array([0.25, 0.1, 0.3, 0.2]))
    assert probability[0].item() == pytest.approx(powers[0] / powers.sum(), rel=1e-5)
    assert probability[1].item() == pytest.approx(powers[0] / (powers.sum() - powers[2]), rel=1e-5)
    assert beaten.tolist() == pytest.approx([2 / 3, 1.0])
    alone = against(torch.tensor([0.25]), others[:1], scale=10.0)
    assert alone[1].tolist() == pytest.approx([2 / 3])
