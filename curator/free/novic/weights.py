"""Owns the file of a trained decoder: one safetensors that says which encoder and nouns it belongs to.

Knows no search and no column, and of encoders only their digest.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from curator.errors import ConfigError
from curator.free.novic.model import END, Architecture, ObjectDecoder

FORMAT = "curator-novic-1"
_KEY = "novic"
EMBEDDED = Path(__file__).parent / "embedded" / "decoder.safetensors"
"""The decoder of the embedded encoder, which ships with the package."""


@dataclass(frozen=True)
class Trained:
    """A decoder with its words.

    ``nouns`` are those it was trained on and ``spelled`` their compact token ids, without the end; compact id i + 1 is
    the encoder's token ``token_ids[i]``, whose text is ``pieces[i]``. ``encoder`` is the digest of the encoder that it
    inverts, ``notes`` what else is known of its making.
    """

    model: ObjectDecoder
    encoder: str
    nouns: tuple[str, ...]
    spelled: tuple[tuple[int, ...], ...]
    token_ids: tuple[int, ...]
    pieces: tuple[str, ...]
    notes: dict[str, Any]

    def require(self, encoder_digest: str, source: str) -> None:
        """Raises ConfigError unless the decoder was trained on that encoder's embeddings."""
        if self.encoder != encoder_digest:
            raise ConfigError(
                f"decoder {source} inverts the encoder {self.encoder[:16]}, not the run's {encoder_digest[:16]}: "
                "train one for this encoder (jobs/train_decoder.py)"
            )

    def compact(self, ids: Sequence[int]) -> tuple[int, ...] | None:
        """Compact ids of the encoder's token ``ids``; None where the decoder lacks one, or the noun is too long."""
        places = {number: place for place, number in enumerate(self.token_ids, start=1)}
        if not ids or len(ids) >= self.model.architecture.longest or any(number not in places for number in ids):
            return None
        return tuple(places[number] for number in ids)

    def text(self, compact: Sequence[int]) -> str:
        """The text that compact ids spell."""
        return " ".join("".join(self.pieces[number - 1] for number in compact).split())


def padded(sequences: Sequence[Sequence[int]], longest: int) -> Tensor:
    """``sequences`` as int64 [N, longest], filled up with the end."""
    rows = torch.full((len(sequences), longest), END)
    for row, sequence in enumerate(sequences):
        rows[row, : len(sequence)] = torch.tensor(sequence, dtype=torch.long)
    return rows


def to_bytes(trained: Trained) -> bytes:
    """The file: weights as float16, the rest as metadata. Raises ConfigError where a weight does not fit float16."""
    from safetensors.torch import save

    tensors = {f"model.{name}": value.half().cpu().contiguous() for name, value in trained.model.state_dict().items()}
    if not all(bool(torch.isfinite(value).all()) for value in tensors.values()):
        raise ConfigError("the decoder's weights do not fit float16; train with a smaller learning rate")
    tensors["spelled"] = padded(trained.spelled, trained.model.architecture.longest - 1).int()
    stated = {
        "format": FORMAT,
        "encoder": trained.encoder,
        "architecture": asdict(trained.model.architecture),
        "nouns": trained.nouns,
        "token_ids": trained.token_ids,
        "pieces": trained.pieces,
        "notes": trained.notes,
    }
    # One entry: safetensors writes several in an order of its own, and equal decoders shall be equal files.
    return save(tensors, {_KEY: json.dumps(stated, ensure_ascii=False, sort_keys=True)})


def from_bytes(data: bytes, source: str) -> Trained:
    """The decoder in a file's content, weights as float32. Raises ConfigError naming ``source``."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        size = int.from_bytes(data[:8], "little")
        stated = json.loads(json.loads(data[8 : 8 + size]).get("__metadata__", {}).get(_KEY, "{}"))
        if stated.get("format") != FORMAT:
            raise ValueError(f"its format is {stated.get('format')!r}, not {FORMAT!r}")
        tensors = load(data)
        model = ObjectDecoder(Architecture(**stated["architecture"]))
        weights = {name[6:]: value.float() for name, value in tensors.items() if name.startswith("model.")}
        model.load_state_dict(weights)
        spelled = tuple(tuple(number for number in row if number != END) for row in tensors["spelled"].tolist())
        return Trained(
            model.eval().requires_grad_(False),
            stated["encoder"],
            tuple(stated["nouns"]),
            spelled,
            tuple(stated["token_ids"]),
            tuple(stated["pieces"]),
            stated["notes"],
        )
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise ConfigError(f"decoder {source} cannot be used: {error}; make it with jobs/train_decoder.py") from error
