"""Threads of the numeric libraries under a worker: as many as it has cores, and not that many in each of its threads.

Knows no model and no image.
"""

from __future__ import annotations

import torch
from threadpoolctl import ThreadpoolController


def use_cores(cores: int) -> None:
    """Give torch ``cores`` threads, and numpy's BLAS one in whoever calls it. For the whole process, from now on.

    Images are decoded in as many threads as there are cores, by numpy's matrix products among others. A BLAS that
    starts threads of its own in each of them makes large images take two to five times as long. Only numpy's own
    library is limited: torch may bring another, which is to use all cores.
    """
    for library in ThreadpoolController().lib_controllers:
        if library.user_api == "blas" and "numpy" in library.filepath:
            library.set_num_threads(1)
    torch.set_num_threads(cores)
