"""How well `misalignment` finds a wrong word: python tests/benchmarks/planted_words.py RUN [--captions 400]

Into captions of two to five content words of a run of the embedded encoder a random word of other captions is planted.
Said is how often it has the lowest share, how often it is flagged at the threshold 0, and how often true words are.
"""

from __future__ import annotations

import argparse
import random

import numpy as np
import torch

from curator.encoder import Encoder
from curator.kernels.misalignment import content_words, leave_one_out, without
from curator.storage import open_storage
from curator.tables.readers import scan, vectors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("--captions", type=int, default=400)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    encoder, draw = Encoder.open("embedded"), random.Random(0)
    rows = []
    for batch in scan(arguments.run, open_storage(), ["caption", "embedding"], only_ok=True):
        for caption, vector in zip(batch.column("caption").to_pylist(), vectors(batch), strict=True):
            if caption and 2 <= len(content_words(caption, 9)) <= 5:
                rows.append((caption, vector.astype(np.float32)))
    draw.shuffle(rows)
    rows = rows[: arguments.captions]
    pool = sorted({word.lower() for caption, _ in rows for word in content_words(caption, 9) if word.isalpha()})
    worst, chance, flagged, true_flagged = [], [], [], []
    for caption, vector in rows:
        known = {word.lower() for word in content_words(caption, 9)}
        planted = draw.choice([word for word in pool if word not in known and len(word) > 2])
        parts = caption.split()
        parts.insert(draw.randint(0, len(parts)), planted)
        text = " ".join(parts)
        words = content_words(text, 16)
        if planted not in words:
            continue
        texts = encoder.embed_text([text, *(without(text, word) for word in words)]).float().cpu().numpy()
        cosines = texts @ (vector / np.linalg.norm(vector))
        shares = leave_one_out(float(cosines[0]), cosines[1:].tolist())
        place = words.index(planted)
        worst.append(int(np.argmin(shares)) == place)
        chance.append(1 / len(words))
        flagged.append(shares[place] < 0)
        true_flagged.append(np.delete(shares, place) < 0)
    print(f"{len(worst)} captions; by chance the planted word has the lowest share in {np.mean(chance):.1%}")
    print(f"it has it in {np.mean(worst):.1%} and is flagged in {np.mean(flagged):.1%}")
    print(f"true words are flagged in {np.concatenate(true_flagged).mean():.1%}")


if __name__ == "__main__":
    main()
