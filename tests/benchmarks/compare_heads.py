"""Top-1 of the heads that need no language model, on a run with known truth: see --help."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import torch

from curator.data import Embeddings, Labels
from curator.evaluation.fitting import open_labelled
from curator.labels.heads import LabelSetSpec, prepare_heads, read_spec
from curator.labels.taxonomy import with_ancestors
from curator.labels.templates import template_set
from curator.labels.vocabulary import Vocabulary
from curator.labels.weighing import weigh_templates
from curator.storage import open_storage
from curator.wordnet.files import WordNet

FACTORS = {
    "style": {
        "photo": [""],
        "emoji": ["as an emoji", "as an icon"],
        "clip art": ["as clip art", "as a cartoon"],
        "drawing": ["as a drawing"],
    },
    "background": {"any": [""], "white": ["on a white background"]},
}
SPURIOUS = [["a photo", "an emoji"], ["a drawing", "clip art"], ["a white background", "a green background"]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("vocabulary")
    parser.add_argument("--truth", default="json.label")
    parser.add_argument("--wordnet", help="WordNet's dict directory, for the heads that need a tree")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    labelled = open_labelled(given.run, open_storage(), vocabulary=given.vocabulary, truth=given.truth, limit=None)
    torch.set_num_threads(given.threads)
    plain, encoder = labelled.vocabulary, labelled.encoder
    openai, photo = template_set("openai"), template_set("photo")
    weights = weigh_templates(labelled.images, plain, openai, encoder, scale=encoder.logit_scale)
    selected = weigh_templates(
        labelled.images, plain, openai, encoder, scale=encoder.logit_scale, combine="equal", select=0.5
    )
    heads: list[tuple[str, str, tuple[str, ...], Vocabulary, dict[str, Any], str]] = [
        ("zero_shot, photo", "zero_shot", photo, plain, {}, ""),
        ("zero_shot, openai", "zero_shot", openai, plain, {}, ""),
        ("zpe, softmax", "zpe", openai, plain, {"weights": weights}, ""),
        ("zpe, selected", "zpe", openai, plain, {"weights": selected}, ""),
        ("autoclip", "autoclip", openai, plain, {}, ""),
        ("waffle", "waffle", photo, plain, {"pairs": 15}, ""),
        ("perceptionclip, two steps", "perceptionclip", photo, plain, {"factors": FACTORS}, ""),
        ("perceptionclip, one step", "perceptionclip", photo, plain, {"factors": FACTORS, "steps": "one"}, ""),
        ("ideal_words", "ideal_words", photo, plain, {"factors": FACTORS}, ""),
        ("roboshot", "roboshot", photo, plain, {"pairs": {"spurious": SPURIOUS}}, ""),
        ("loki, self", "loki", photo, plain, {}, "_loki"),
    ]
    if given.wordnet:
        wordnet = WordNet(Path(given.wordnet))
        known = [name for name in plain.names if wordnet.offsets(name)]
        above = Vocabulary.load(with_ancestors(wordnet, known, depth=2)["labels"])
        names = {label.id: label.name for label in above.labels}
        tree: Any = {label.name: names[label.parent] for label in above.labels if label.parent and label.name in known}
        tree |= {label.name: names[label.parent] for label in above.labels if label.parent and label.name not in known}
        heads += [
            ("smooth", "smooth", photo, plain, {"tree": tree}, ""),
            ("relatives", "relatives", photo, plain, {"tree": tree}, ""),
            ("loki, tree", "loki", photo, plain, {"tree": tree, "metric": "tree"}, "_loki"),
        ]
    embeddings = Embeddings(labelled.images, [None] * len(labelled.images), [None] * len(labelled.images))
    print(f"{len(labelled.images)} images, {len(plain)} labels")
    for title, name, templates, vocabulary, options, column in heads:
        spec = read_spec(LabelSetSpec("labels", vocabulary, templates, head=name, options=options), open_storage())
        (head,) = prepare_heads([spec], encoder)
        start = time.perf_counter()
        labels = head(embeddings)[f"labels{column}"]
        spent = time.perf_counter() - start
        assert isinstance(labels, Labels)
        hits = torch.from_numpy(labels.indices) == labelled.target.unsqueeze(1)
        print(
            f"{title:27} top-1 {hits[:, 0].float().mean():.3f}  top-5 {hits.any(1).float().mean():.3f}  {spent:.3f} s"
        )


if __name__ == "__main__":
    main()
