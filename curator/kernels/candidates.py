"""Owns vocabulary-free classification (CaSED) as maths on strings and tensors: captions to candidate words to scores.

Knows no caption bank, no tagger and no encoder. Source: Conti et al., "Vocabulary-free Image Classification", NeurIPS
2023, with the filters in the order of the authors' code.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

NO_CANDIDATE = "object"
NEAR_DUPLICATE = 0.94
_PICTURE_WORDS = "image photo picture thumbnail logo symbol clipart portrait painting illustration icon profile"
NOT_A_CONTENT = frozenset(_PICTURE_WORDS.split())
_DROPPED = [re.compile(pattern) for pattern in (r"<[^>]+>", r"http\S+", r"[^\w\s\-\.\'\&]", r"\.\w+")]
_SEPARATORS = re.compile(r"[_\-]")
_NOT_ALPHABETIC = re.compile(r"[^a-zA-Z\s]")
_SHORTEST = 3
_KEPT_ENDINGS = ("ss", "us", "is", "ies", "oes")


def words_of(text: str, singular: Callable[[str], str]) -> list[str]:
    """The words of captions joined by spaces after the first ten filters, in order.

    Tags, urls, special characters, file extensions go; separators become spaces; words of less than three characters
    go (before what is not a letter does, so that shorter ones may come back); lower case; singular; words that say
    "this is a picture" go. ``singular`` is asked about words that end in s, but for -ss, -us, -is, -ies and -oes.
    """
    for pattern in _DROPPED:
        text = pattern.sub("", text)
    long = (word for word in _SEPARATORS.sub(" ", text).split() if len(word) >= _SHORTEST)
    words = _NOT_ALPHABETIC.sub("", " ".join(long)).lower().split()
    singles = (singular(word) if word.endswith("s") and not word.endswith(_KEPT_ENDINGS) else word for word in words)
    return [word for word in singles if word not in NOT_A_CONTENT]


def repeated(words: Sequence[str], least: int = 2) -> list[str]:
    """``words`` that occur at least ``least`` times, in order; where none does, those that occur most (filter 11)."""
    counts = Counter(words)
    threshold = min(least, max(counts.values(), default=0))
    return [word for word in words if counts[word] >= threshold]


def candidates(words: Iterable[str]) -> list[str]:
    """The different words in alphabetical order, or "object" where there is none (filter 13)."""
    return sorted(set(words)) or [NO_CANDIDATE]


def distinct_captions(vectors: Tensor, valid: Tensor, threshold: float = NEAR_DUPLICATE) -> Tensor:
    """Which of each image's captions to keep, bool [B, K]: of those that say the same, the best ranked.

    ``vectors`` [B, K, D] are unit vectors in order of rank, ``valid`` [B, K] is False where there is none. Captions say
    the same when a chain of cosines above ``threshold`` connects them.
    """
    near = torch.bmm(vectors, vectors.transpose(1, 2)) > threshold
    near &= valid[:, :, None] & valid[:, None, :]
    count = vectors.shape[1]
    near |= torch.eye(count, dtype=torch.bool, device=vectors.device)
    for _ in range(max(0, count - 1).bit_length()):  # paths of up to 2, 4, 8, … steps
        near = torch.bmm(near.float(), near.float()) > 0
    earlier = torch.ones(count, count, dtype=torch.bool, device=vectors.device).tril(-1)
    return valid & ~(near & earlier).any(dim=2)


def centroids(vectors: Tensor, kept: Tensor) -> Tensor:
    """The normalised mean of each image's kept captions, [B, D]; zero where none is kept. Shapes as above."""
    sums = (vectors * kept[:, :, None]).sum(dim=1)
    return torch.nn.functional.normalize(sums, dim=1)


def candidate_scores(
    images: Tensor, captions: Tensor, words: Tensor, mask: Tensor, *, scale: float, tau: float = 1.0, alpha: float = 0.7
) -> Tensor:
    """alpha * softmax(s cos(x, w) / tau) + (1 - alpha) * softmax(s cos(u, w) / tau), [B, W]; 0 for non-candidates.

    ``images`` x and ``captions`` u (centroids) [B, D] and ``words`` w [W, D] are unit vectors. ``mask`` [B, W] is True
    for an image's candidates, of which each has at least one; the softmax runs over these alone, so that scores of
    images with different numbers of candidates do not compare. A zero centroid (no caption) scores all alike.
    """

    def share(queries: Tensor) -> Tensor:
        logits = (queries @ words.T) * (scale / tau)
        return logits.masked_fill(~mask, -torch.inf).softmax(dim=1)

    return alpha * share(images) + (1 - alpha) * share(captions)
