"""Owns text banks: class embeddings from prompts, kept on disk by digest. Knows an encoder only as text to vectors."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from curator.annotators import TextEncoder
from curator.cache import cache_root, locked, replacing
from curator.data import TextBank
from curator.errors import ConfigError
from curator.labels.templates import check_templates, fill
from curator.labels.vocabulary import Label, Vocabulary

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)

_PROMPTS_AT_ONCE = 16_384
_MANY_LABELS = 50_000
_BUILD_TIMEOUT_S = 6 * 3600.0


def prompts_of(label: Label, templates: Sequence[str]) -> tuple[str, ...]:
    """The label's name and aliases in each of its templates (its own, where it has some)."""
    return tuple(
        fill(template, name) for name in (label.name, *label.aliases) for template in label.templates or templates
    )


def bank_digest(vocabulary: Vocabulary, templates: Sequence[str], encoder: TextEncoder) -> str:
    """64 hex digits that identify the bank before it is built: labels, prompts, encoder and its precision."""
    digest = hashlib.sha256(f"{encoder.digest}\n{encoder.precision}\n".encode())
    for label in vocabulary.labels:
        digest.update(json.dumps([label.id, label.name, prompts_of(label, templates)]).encode() + b"\n")
    return digest.hexdigest()


def build_bank(
    vocabulary: Vocabulary,
    templates: Sequence[str],
    encoder: TextEncoder,
    *,
    cache_dir: str | Path | None = None,
) -> TextBank:
    """The class embeddings of ``vocabulary``, float32 [C, dim] on the CPU, from the cache if they are there.

    A class embedding is the renormalised mean of the unit embeddings of its prompts (CLIP, Radford et al. 2021, section
    3.1.4). Banks are kept under ``cache_dir`` (the user's cache by default); of several processes that need the same
    one, the first builds it and the others wait for it and load it. Raises ConfigError for bad templates.
    """
    for label in vocabulary.labels:
        if label.templates:
            check_templates(label.templates, f"label {label.id!r}")
    templates = check_templates(templates, "label set")
    digest = bank_digest(vocabulary, templates, encoder)
    path = cache_root(cache_dir) / "banks" / f"{digest}.safetensors"
    vectors = _load(path, vocabulary, encoder.dim)
    if vectors is None:
        with locked(path.with_suffix(".lock"), timeout_s=_BUILD_TIMEOUT_S):
            vectors = _load(path, vocabulary, encoder.dim)
            if vectors is None:
                if len(vocabulary) > _MANY_LABELS:
                    logger.warning(
                        "embedding the texts of %d labels, which takes a while, and once only", len(vocabulary)
                    )
                vectors = _embed(vocabulary, templates, encoder)
                _keep(path, vectors)
    return TextBank(vocabulary.ids, vocabulary.names, vectors, digest)


def text_bank(texts: Sequence[str], encoder: TextEncoder, *, cache_dir: str | Path | None = None) -> TextBank:
    """The embeddings of ``texts`` as they are, one row each in their order, kept and cached like every bank."""
    labels = tuple(Label(str(row), text) for row, text in enumerate(texts))
    return build_bank(Vocabulary(labels), ("{}",), encoder, cache_dir=cache_dir)


def _embed(vocabulary: Vocabulary, templates: Sequence[str], encoder: TextEncoder) -> Tensor:
    import torch

    from curator.kernels.vectors import class_means

    bank = torch.empty(len(vocabulary), encoder.dim)
    for start, prompts in _blocks(vocabulary, templates):
        owners = torch.tensor([row for row, own in enumerate(prompts) for _ in own])
        vectors = encoder.embed_text([prompt for own in prompts for prompt in own]).cpu()
        try:
            bank[start : start + len(prompts)] = class_means(vectors, owners, len(prompts))
        except ValueError as error:
            raise ConfigError(f"labels {start} to {start + len(prompts) - 1}: {error}") from error
    return bank


def _blocks(vocabulary: Vocabulary, templates: Sequence[str]) -> Iterator[tuple[int, list[tuple[str, ...]]]]:
    """Prompts by label for runs of labels that fit in memory together, each with the number of its first label."""
    start, block, prompts = 0, list[tuple[str, ...]](), 0
    for row, label in enumerate(vocabulary.labels):
        own = prompts_of(label, templates)
        if block and prompts + len(own) > _PROMPTS_AT_ONCE:
            yield start, block
            start, block, prompts = row, [], 0
        block.append(own)
        prompts += len(own)
    yield start, block


def _load(path: Path, vocabulary: Vocabulary, dim: int) -> Tensor | None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        return None
    try:
        vectors = load_file(path)["vectors"]
        if vectors.shape != (len(vocabulary), dim):
            raise ValueError(f"it holds {tuple(vectors.shape)}")
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        logger.warning("text bank %s is damaged (%s): building it again", path, error)
        return None
    return vectors


def _keep(path: Path, vectors: Tensor) -> None:
    from safetensors.torch import save

    try:
        with replacing(path) as part:
            part.write_bytes(save({"vectors": vectors}))
    except OSError as error:
        logger.warning("text bank %s cannot be kept (%s): every process will build its own", path, error)
