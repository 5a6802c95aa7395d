from __future__ import annotations

import torch
from torch import Tensor

from curator.encoder import Encoder
from curator.encoder.spelling import pieces, spell


class Pieces:
    """A tokenizer like those of transformers behind open_clip's wrapper: no beginning, end 1, padding 1."""

    def __init__(self) -> None:
        self.ids = {"▁a": 5, "▁red": 6, "▁car": 7, "s": 8, "Ġbus": 9}

    def __call__(self, texts: list[str]) -> Tensor:
        rows = [[self.ids[f"▁{word}"] for word in text.split()] for text in texts]
        return torch.tensor([[*row, *[1] * (6 - len(row))] for row in rows])

    @property
    def tokenizer(self) -> Pieces:
        return self

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
        return [next(piece for piece, number in self.ids.items() if number == wanted) for wanted in ids]


def test_marks_and_padding_of_clip_are_left_out() -> None:
    encoder = Encoder.open("embedded", precision="float32", device="cpu")
    spelled = encoder.spell(["Sea  Lion", "sea lion", "", "admission tickets"])
    assert spelled[0] == spelled[1] != []
    assert spelled[2] == []
    assert "".join(encoder.pieces(spelled[3])) == "admission tickets "
    assert encoder.spell([]) == []


def test_marks_and_padding_of_sentencepiece_are_left_out() -> None:
    assert spell(Pieces(), ["a red car", "car"]) == [[5, 6, 7], [7]]
    assert "".join(pieces(Pieces(), [6, 7, 8, 9])) == " red cars bus"
