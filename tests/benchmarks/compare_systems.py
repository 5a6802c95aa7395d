"""One system over given shards in this process, for ``compare.py``: images to vectors, seconds to a file.

``python compare_systems.py SYSTEM JOB.json REPORT.json``. The job names shards, weights, output, batch size, precision
and cores. The report has ``steady_s``: the seconds from a loaded model to the last row written, as far as the system
lets that be seen. What each system does beyond its defaults stands in its function. Only clip-retrieval's function may
import what this repository lacks, and it imports nothing that is not clip-retrieval's own.
"""

from __future__ import annotations

import json
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

Job = dict[str, Any]


def curator_local(job: Job) -> float:
    return _curator(job, {"run": {"backend": "local"}})


def curator_ray(job: Job) -> float:
    """One actor with all cores, on a Ray of its own."""
    return _curator(
        job, {"run": {"backend": "ray"}, "ray": {"address": "local", "workers": 1, "num_cpus": job["cores"]}}
    )


def _curator(job: Job, sections: dict[str, Any]) -> float:
    import curator

    encoder = {
        "name": job["architecture"],
        "pretrained": job["weights"],
        "precision": job["precision"],
        "batch_size": job["batch_size"],
        "device": "cpu",
    }
    summary = curator.label(job["shards"], job["output"], encoder=encoder, decode={"mode": job["decode"]}, **sections)
    if summary.status != "complete" or summary.startup_s is None:
        raise SystemExit(f"curator: {summary.status}: {summary.message}")
    return summary.elapsed_s - summary.startup_s


def ray_data(job: Job) -> float:
    """``read_webdataset`` -> ``map_batches`` -> ``write_parquet``: an actor for each core, one thread each.

    The image bytes stay as they are up to the actor, so that blocks are small. Ray is given a core more than there
    are, or reading would wait for ever for the actors' cores.
    """
    import io

    import numpy as np
    import open_clip
    import ray
    import torch
    from PIL import Image

    ready = Path(job["output"] + ".ready")
    ready.mkdir()

    class Embed:
        def __init__(self) -> None:
            torch.set_num_threads(max(1, job["cores"] // job["actors"]))
            self._dtype = getattr(torch, job["precision"])
            model, _, self._preprocess = open_clip.create_model_and_transforms(
                job["architecture"], pretrained=job["weights"]
            )
            self._model = model.eval().to(self._dtype)
            (ready / f"{time.time_ns()}").touch()

        def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
            images = [self._preprocess(Image.open(io.BytesIO(data))) for data in batch["jpg"]]
            with torch.inference_mode():
                vectors = self._model.encode_image(torch.stack(images).to(self._dtype), normalize=True)
            return {"key": batch["__key__"], "embedding": vectors.float().numpy().astype(np.float16)}

    ray.init("local", num_cpus=job["cores"] + 1, log_to_driver=False, configure_logging=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    dataset = ray.data.read_webdataset(job["shards"], decoder=None, suffixes=["jpg"])
    dataset = dataset.map_batches(
        Embed, compute=ray.data.ActorPoolStrategy(size=job["actors"]), batch_size=job["batch_size"], num_cpus=1
    )
    dataset.write_parquet(job["output"])
    ended = time.time_ns()
    first = min(int(path.name) for path in ready.iterdir())
    ray.shutdown()
    return (ended - first) / 1e9


def clip_retrieval(job: Job) -> float:
    """clip inference over images alone, with its own defaults; in float32, the only precision that it has on a CPU.

    Its own statistics count from the first batch asked for to the last one handled.
    """
    from clip_retrieval.clip_inference.main import main

    main(
        input_dataset="{" + ",".join(job["shards"]) + "}" if len(job["shards"]) > 1 else job["shards"][0],
        output_folder=job["output"],
        input_format="webdataset",
        batch_size=job["batch_size"],
        enable_text=False,
        enable_image=True,
        clip_model=f"open_clip:{job['architecture']}/{job['weights']}",
    )
    stats = [json.loads(path.read_text()) for path in Path(job["output"], "stats").glob("[0-9]*.json")]
    return float(sum(each["total_duration"] for each in stats))


SYSTEMS = {
    "curator-local": (curator_local, ("curator", "torch", "open_clip_torch", "pillow")),
    "curator-ray": (curator_ray, ("curator", "ray")),
    "ray-data": (ray_data, ("ray", "pillow")),
    "clip-retrieval": (clip_retrieval, ("clip_retrieval", "all_clip", "webdataset", "pillow", "torch")),
}


def main() -> None:
    system, job_file, report_file = sys.argv[1:]
    run, packages = SYSTEMS[system]
    seconds = run(json.loads(Path(job_file).read_text()))
    versions = {package: version(package) for package in packages}
    Path(report_file).write_text(json.dumps({"steady_s": seconds, "versions": versions}))


if __name__ == "__main__":
    main()
