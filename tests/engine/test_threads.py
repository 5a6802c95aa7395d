"""What a worker does to the threads of the numeric libraries."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from curator.engine.threads import use_cores


@pytest.fixture
def threads_restored() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads_restored")
def test_a_worker_has_its_cores_and_a_decoding_thread_one() -> None:
    np.ones((2, 2)) @ np.ones((2, 2))
    with threadpool_limits(4, user_api="blas"):
        use_cores(3)
        numpys = [library for library in threadpool_info() if "numpy" in library["filepath"]]
        assert [library["num_threads"] for library in numpys] == [1] * len(numpys)
        assert torch.get_num_threads() == 3
