"""From free labels to a vocabulary."""

from __future__ import annotations

import torch

from curator.free.merging import Concept, folded, merge_near, merge_synonyms, variants, vocabulary_of
from curator.labels.vocabulary import Vocabulary


def test_case_plural_and_separators_do_not_make_labels_differ() -> None:
    found = variants({"Dogs": 2, "dog": 5, "hot-dog": 1, "hot dogs": 1, "glass": 3})
    assert found == [
        Concept("dog", ("Dogs",), 7),
        Concept("glass", (), 3),
        Concept("hot dogs", ("hot-dog",), 2),
    ]
    assert folded("Hot_Dogs") == "hot dog"


def test_synonyms_are_words_whose_first_sense_is_one() -> None:
    concepts = variants({"automobile": 2, "car": 3, "cars": 1, "dog": 9, "unheard-of": 1})
    assert merge_synonyms(concepts) == [
        Concept("dog", (), 9),
        Concept("car", ("cars", "automobile"), 6),
        Concept("unheard-of", (), 1),
    ]


def test_near_vectors_are_merged_along_chains() -> None:
    concepts = [Concept(name, (), count) for name, count in (("a", 4), ("b", 3), ("c", 2), ("d", 1))]
    angles = torch.tensor([0.0, 0.3, 0.6, 2.0])
    vectors = torch.stack([angles.cos(), angles.sin()], dim=1)
    assert merge_near(concepts, vectors, 0.94) == [Concept("a", ("b", "c"), 9), Concept("d", (), 1)]


def test_what_is_written_is_a_vocabulary() -> None:
    concepts = [Concept("car", ("cars", "automobile"), 6), Concept("dog", (), 2)]
    read = Vocabulary.load(vocabulary_of(concepts)["labels"])
    assert read.names == ("car", "dog")
    assert read.labels[0].aliases == ("cars", "automobile")
