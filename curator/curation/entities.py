"""Jobs over a finished run that make and use what entity tags need: a threshold, exemplars, links to exemplars.

Reads Parquet and no image; owns no formula and no matching.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from curator.annotators import AnnotatorSpec, DeviceEncoder, Means, TextVectors
from curator.cache import replacing
from curator.data import Embeddings, EntityTag
from curator.engine.wait import warn_unless_ended
from curator.entities.exemplars import Exemplars, Pool, pooled_with_captions
from curator.entities.mofi import MofiAnnotator
from curator.errors import ConfigError
from curator.kernels.entities import single_linkage
from curator.kernels.ranking import top_k
from curator.kernels.vectors import l2_normalize
from curator.tables.readers import scan, schema_of, vectors
from curator.tables.schema import columns_of_kind

if TYPE_CHECKING:
    from torch import Tensor

    from curator.storage import Storage

_BATCH_ROWS = 512


@dataclass(frozen=True, slots=True)
class Calibration:
    """``threshold``: the cosine under which the share ``quantile`` of foreign mentions stays.

    ``own`` and ``foreign`` are float32 cosines of images with what their own captions mention, and with what captions
    of other images mention that theirs do not.
    """

    threshold: float
    quantile: float
    own: np.ndarray[Any, np.dtype[np.float32]]
    foreign: np.ndarray[Any, np.dtype[np.float32]]

    @property
    def own_kept(self) -> float:
        """The share of own mentions at or over the threshold."""
        return float((self.own >= self.threshold).mean())


def calibrate(
    run: str,
    gazetteer: str,
    storage: Storage,
    encoder: DeviceEncoder,
    *,
    quantile: float,
    rows: int,
    least: int = 100,
    **options: object,
) -> Calibration:
    """Measure over the first ``rows`` captioned rows of ``run`` what cosines chance gives to mentions.

    Each image gets its own caption, and that of the image half the rows further on. ``options`` are those of ``mofi``.
    ConfigError where there are fewer than ``least`` foreign mentions.
    """
    images, captions = captioned(run, storage, rows)
    given = {"gazetteer": gazetteer, "threshold": -1.0, "mentions": True, **options}
    spec = MofiAnnotator.read(AnnotatorSpec("calibration", "mofi", given), storage)
    tagger = MofiAnnotator.open(spec, Means(encoder, TextVectors(encoder), storage, None, 1))
    half = len(captions) // 2
    images = images.to(encoder.device)
    own_tags = _tags(tagger, images, captions)
    foreign_tags = _tags(tagger, images, [*captions[half:], *captions[:half]])
    known = [{tag.entity_id for tag in tags} for tags in own_tags]
    own = np.array([tag.score for tags in own_tags for tag in tags], np.float32)
    foreign = np.array(
        [tag.score for row, tags in enumerate(foreign_tags) for tag in tags if tag.entity_id not in known[row]],
        np.float32,
    )
    if len(foreign) < least:
        raise ConfigError(
            f"{run}: only {len(foreign)} mentions of {gazetteer} in foreign captions; give more rows or a run "
            "with captions that mention its entities"
        )
    return Calibration(float(np.quantile(foreign, quantile)), quantile, own, foreign)


def captioned(run: str, storage: Storage, rows: int) -> tuple[Tensor, list[str]]:
    """Unit vectors [N, D] and captions of the first N rows of a run that have one, N at most ``rows``."""
    warn_unless_ended(run, storage)
    found, captions, count = [], list[str](), 0
    for batch in scan(run, storage, ["caption", "embedding"], only_ok=True):
        filled = [place for place, caption in enumerate(batch.column("caption").to_pylist()) if caption]
        filled = filled[: rows - count]
        found.append(torch.tensor(vectors(batch)[filled].astype(np.float32)))
        captions += batch.column("caption").take(pa.array(filled, pa.int64())).to_pylist()
        count += len(filled)
        if count >= rows:
            break
    return l2_normalize(torch.cat(found)), captions


def _tags(tagger: MofiAnnotator, images: Tensor, captions: Sequence[str]) -> list[Sequence[EntityTag]]:
    tags: list[Sequence[EntityTag]] = []
    for start in range(0, len(captions), _BATCH_ROWS):
        cut = captions[start : start + _BATCH_ROWS]
        found = tagger(Embeddings(images[start : start + _BATCH_ROWS], cut, [None] * len(cut)))
        tags += found["calibration_mentions"]  # type: ignore[arg-type]
    return tags


@dataclass(frozen=True, slots=True)
class Pair:
    """Rows of a run with what a job needs: ids, unit vectors [B, D] (pooled with captions, where asked), tags."""

    sample_ids: list[str]
    vectors: Tensor
    tags: list[list[dict[str, Any]] | None]


def _pairs(run: str, storage: Storage, pool: Pool, encoder: DeviceEncoder | None, column: str | None) -> Iterator[Pair]:
    """The rows of a run, as the exemplars' ``pool`` has them. Only captions need the encoder."""
    warn_unless_ended(run, storage)
    texts = None if encoder is None else TextVectors(encoder)
    names = ["sample_id", "caption", "embedding", *([] if column is None else [column])]
    for batch in scan(run, storage, names, only_ok=True, batch_rows=_BATCH_ROWS):
        images = l2_normalize(torch.tensor(vectors(batch).astype(np.float32)))
        if pool == "image+text" and texts is not None:
            images = pooled_with_captions(images, batch.column("caption").to_pylist(), lambda some: texts(some).cpu())
        tags = [None] * batch.num_rows if column is None else batch.column(column).to_pylist()
        yield Pair(batch.column("sample_id").to_pylist(), images, tags)


def harvest(
    run: str,
    storage: Storage,
    encoder: DeviceEncoder,
    *,
    column: str,
    pool: Pool = "image",
    min_score: float = -1.0,
    min_evidence: int = 3,
    min_similarity: float = -1.0,
) -> Exemplars:
    """The exemplar of every entity that ``column`` of a run tags: the mean of the vectors of its images.

    Counted are tags of at least ``min_score``; then images whose cosine with their entity's first mean is under
    ``min_similarity`` are left out and the mean is taken again. Entities keep at least ``min_evidence`` images. Memory:
    one vector per entity that occurs. ConfigError where none is left.
    """
    _check_column(run, storage, column)
    sums, counts, names = _sums(_pairs(run, storage, pool, encoder, column), min_score, None, -1.0)
    if min_similarity > -1.0:
        means = {entity: l2_normalize(total) for entity, total in sums.items()}
        sums, counts, names = _sums(_pairs(run, storage, pool, encoder, column), min_score, means, min_similarity)
    kept = sorted(entity for entity, count in counts.items() if count >= min_evidence)
    if not kept:
        raise ConfigError(
            f"{run}: no entity of column '{column}' has {min_evidence} images (of {len(counts)} entities); lower "
            "--min-evidence, or tag more"
        )
    return Exemplars(
        kept,
        [names[entity] for entity in kept],
        np.array([counts[entity] for entity in kept], np.int64),
        l2_normalize(torch.stack([sums[entity] for entity in kept])).numpy(),
        pool,
        encoder.digest,
    )


def _check_column(run: str, storage: Storage, column: str) -> None:
    known = columns_of_kind(schema_of(run, storage), "entities")
    if column not in known:
        there = f"there are {', '.join(known)}" if known else "there are none: label it with --entities"
        raise ConfigError(f"{run}: has no entities in a column {column!r}; {there}")


def _sums(
    pairs: Iterator[Pair], min_score: float, means: dict[str, Tensor] | None, min_similarity: float
) -> tuple[dict[str, Tensor], dict[str, int], dict[str, str]]:
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = {}
    names: dict[str, str] = {}
    for pair in pairs:
        for vector, tags in zip(pair.vectors, pair.tags, strict=True):
            for tag in tags or ():
                entity = tag["entity_id"]
                if not entity or tag["score"] < min_score:
                    continue
                if means is not None and float(vector @ means[entity]) < min_similarity:
                    continue
                sums[entity] = sums[entity] + vector if entity in sums else vector.clone()
                counts[entity] = counts.get(entity, 0) + 1
                names.setdefault(entity, tag["name"])
    return sums, counts, names


@dataclass(frozen=True, slots=True)
class Linked:
    """Rows that were linked to an exemplar, and the rest in groups."""

    linked: int
    grouped: int
    groups: int


def link(
    run: str,
    storage: Storage,
    exemplars: Exemplars,
    encoder: DeviceEncoder,
    output: Path,
    *,
    cutoff: float,
    most_new: int = 100_000,
) -> Linked:
    """Write ``output`` (Parquet): of every row its entity, or the group of those that no exemplar is near to.

    Columns sample_id, entity_id, name, group (``new-N``, the N-th in order), score (cosine with the exemplar; null of a
    new one). Single linkage at ``cutoff`` over all pairs of new rows; ConfigError above ``most_new`` of them.
    Source: CLIPPINGS (arXiv 2304.03464).
    """
    bank = torch.tensor(exemplars.vectors)
    ids, nearest, scores, new, places = list[str](), list[int](), list[float](), list["Tensor"](), list[int]()
    for pair in _pairs(run, storage, exemplars.pool, encoder, None):
        best, index = top_k(pair.vectors, bank, 1)
        near = best[:, 0] >= cutoff
        fresh = (~near).nonzero().squeeze(1)
        places += (fresh + len(ids)).tolist()
        new.append(pair.vectors[fresh])
        ids += pair.sample_ids
        scores += best[:, 0].tolist()
        nearest += torch.where(near, index[:, 0], -1).tolist()
        if len(places) > most_new:
            raise ConfigError(
                f"{run}: more than {most_new} rows are near to no exemplar at {cutoff}; comparing all pairs takes "
                "too long: lower --cutoff, harvest more exemplars, or raise --most-new"
            )
    clusters = single_linkage(torch.cat(new), cutoff) if places else []
    group: list[str | None] = [None] * len(ids)
    for place, cluster in zip(places, clusters, strict=True):
        group[place] = f"new-{cluster}"
    table = pa.table(
        {
            "sample_id": pa.array(ids, pa.string()),
            "entity_id": pa.array([None if place < 0 else exemplars.ids[place] for place in nearest], pa.string()),
            "name": pa.array([None if place < 0 else exemplars.names[place] for place in nearest], pa.string()),
            "group": pa.array(group, pa.string()),
            "score": pa.array(
                [None if place < 0 else score for place, score in zip(nearest, scores, strict=True)], pa.float32()
            ),
        }
    )
    with replacing(output) as part:
        pq.write_table(table, part)
    return Linked(len(ids) - len(places), len(places), len(set(clusters)))
