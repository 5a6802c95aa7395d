"""Time heads and prompt weighting on random embeddings: python -m tests.benchmarks.heads --help."""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from curator.data import Embeddings, TextBank
from curator.kernels.prompt_weights import zpe_scores
from curator.kernels.vectors import l2_normalize
from curator.labels.heads import LabelSetSpec, build_head
from curator.labels.heads.dense import row_blocks
from curator.labels.vocabulary import Label, Vocabulary


def seconds(work: Callable[[], Any], repeats: int) -> float:
    """The best of ``repeats`` runs after one that warms up."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def unit(*shape: int) -> Tensor:
    return l2_normalize(torch.randn(*shape))


def plain_over_prompts(images: Tensor, prompts: Tensor, labels: int) -> Tensor:
    """The head's own floor: the mean cosine of every label over its prompts, nothing averaged before, in blocks."""
    columns = prompts.T
    blocks = [(block @ columns).view(len(block), labels, -1).mean(2) for block in row_blocks(images, len(prompts))]
    return torch.cat(blocks).topk(5, dim=1).indices


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=4096)
    parser.add_argument("--labels", type=int, default=1000)
    parser.add_argument("--templates", type=int, default=80)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--zpe", action="store_true", help="time prompt weights instead: --images x --templates")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    images = unit(given.images, given.dim)
    if given.zpe:
        templates = [unit(given.labels, given.dim) for _ in range(given.templates)]
        spent = seconds(lambda: zpe_scores(images, templates, scale=100.0, reference=images), 1)
        print(f"zpe: {given.templates} templates x {given.labels} labels over {given.images} images {spent:.2f} s")
        return
    prompts = unit(given.labels * given.templates, given.dim)
    names = tuple(str(row) for row in range(given.labels))
    mean = TextBank(names, names, prompts.view(given.labels, given.templates, -1).mean(1), "mean")
    vocabulary = Vocabulary(tuple(Label(name, name) for name in names))
    options = {"precision": given.precision}
    specs = {
        head: LabelSetSpec("labels", vocabulary, ("{}",) * given.templates, head=head, options=options)
        for head in ("zero_shot", "autoclip")
    }
    banks = {"labels": mean, "prompts": TextBank((), (), prompts, "prompts")}
    embeddings = Embeddings(images, [None] * given.images, [None] * given.images)
    heads = {name: build_head(spec, banks, scale=100.0, bias=None) for name, spec in specs.items()}
    averaged = seconds(lambda: heads["zero_shot"](embeddings), given.repeats)
    dtype = getattr(torch, given.precision)
    low, columns = images.to(dtype), prompts.to(dtype)
    floor = seconds(lambda: plain_over_prompts(low, columns, given.labels), given.repeats)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    auto = seconds(lambda: heads["autoclip"](embeddings), given.repeats)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"zero_shot, templates averaged before {averaged:.3f} s")
    print(f"plain head over all prompts          {floor:.3f} s")
    print(f"autoclip                             {auto:.3f} s = {auto / floor:.2f} x, peak memory + {grown:.0f} MiB")


if __name__ == "__main__":
    main()
