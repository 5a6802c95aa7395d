"""Owns the arithmetic of unit vectors. Knows no encoder, no file and no label: tensors in, tensors out."""

from __future__ import annotations

import torch
from torch import Tensor


def l2_normalize(x: Tensor, eps: float = 1e-12) -> Tensor:
    """Rows of ``x`` [..., D] scaled to unit length, as float32 whatever the input's dtype.

    x / max(|x|, eps), so that a zero row stays zero instead of becoming NaN.
    """
    return torch.nn.functional.normalize(x.float(), dim=-1, eps=eps)


def class_means(prompt_vectors: Tensor, class_index: Tensor, num_classes: int) -> Tensor:
    """Class embeddings [num_classes, D], float32, unit norm: the renormalised mean of each class's prompt vectors.

    ``prompt_vectors`` [N, D] are unit vectors and ``class_index`` int64 [N] says whose they are. The mean is taken in
    float32: in float16 a mean over 80 templates differs in the third decimal. Source: CLIP (Radford et al. 2021,
    section 3.1.4), as in open_clip's ``build_zero_shot_classifier``.

    Raises ValueError for a class without prompts, and for one whose prompts cancel out (their mean is zero).
    """
    if class_index.shape != prompt_vectors.shape[:1]:
        raise ValueError(f"{tuple(class_index.shape)} class indices for {prompt_vectors.shape[0]} prompt vectors")
    counts = torch.bincount(class_index, minlength=num_classes)
    if counts.shape[0] > num_classes:
        raise ValueError(f"class index {counts.shape[0] - 1} with only {num_classes} classes")
    if bool((counts == 0).any()):
        raise ValueError(f"class {int(torch.argmin(counts))} has no prompts")
    sums = torch.zeros(num_classes, prompt_vectors.shape[1], dtype=torch.float32, device=prompt_vectors.device)
    sums.index_add_(0, class_index, prompt_vectors.float())
    means = sums / counts.unsqueeze(1)
    norms = torch.linalg.vector_norm(means, dim=1)
    if bool((norms < 1e-6).any()):
        raise ValueError(f"the prompts of class {int(torch.argmin(norms))} cancel out: their mean is zero")
    return l2_normalize(means)
