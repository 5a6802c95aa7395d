"""Annotators in a run: beside label sets in the main job, over stored embeddings in a relabelling."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from curator.annotators import Annotator, AnnotatorSpec, Means
from curator.config import Config
from curator.data import ColumnSpec, ColumnValues, Embeddings
from curator.engine.run import label
from curator.errors import ConfigError
from curator.scores import METHODS
from tests.curation.jobs import make_source, run, table
from tests.run.jobs import job_config, local_fleet, write_shards


class Facts(Annotator):
    """Area, shape and the caption's nearness to the image: a value of several kinds from each thing that is offered."""

    OPTIONS = frozenset({"factor"})

    @classmethod
    def columns_of(cls, spec: AnnotatorSpec) -> tuple[ColumnSpec, ...]:
        return (
            ColumnSpec(f"{spec.name}_area", "count", "pixels of the image as stored"),
            ColumnSpec(f"{spec.name}_shape", "text", "upright, square or null"),
            ColumnSpec(f"{spec.name}_near", "score", "cosine of image and caption, times the factor"),
        )

    @classmethod
    def open(cls, spec: AnnotatorSpec, means: Means) -> Facts:
        return cls(spec, means)

    def __init__(self, spec: AnnotatorSpec, means: Means) -> None:
        super().__init__(spec, means.encoder)
        self._texts, self._factor = means.texts, spec.options.get("factor", 1.0)

    def __call__(self, embeddings: Embeddings) -> dict[str, ColumnValues]:
        sizes = np.array(embeddings.sizes, np.int64)
        near = (self._texts([caption or "" for caption in embeddings.captions]) * embeddings.vectors).sum(1)
        shapes = ["square" if w == h else "upright" if h > w else None for w, h in sizes.tolist()]
        area = np.where(sizes[:, 0] == sizes[:, 1], -1, sizes.prod(1))
        return {"facts_area": area, "facts_shape": shapes, "facts_near": self._factor * near.numpy()}


class Sees(Facts):
    NEEDS = frozenset({"pixels"})

    def __call__(self, embeddings: Embeddings) -> dict[str, ColumnValues]:
        assert embeddings.pixels is not None
        assert all(pixels.dtype == np.uint8 and pixels.shape[0] == 3 for pixels in embeddings.pixels)
        return super().__call__(embeddings)


@pytest.fixture(autouse=True)
def methods(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "facts", Facts)
    monkeypatch.setitem(METHODS, "sees", Sees)


def facts(output: str | Path) -> list[dict[str, object]]:
    rows = table(output).sort_by("sample_id").to_pylist()
    return [{name: row[name] for name in row if name.startswith("facts_")} for row in rows]


def test_a_relabelling_gives_what_the_main_job_gave(tmp_path: Path, tiny_encoder_dir: Path) -> None:
    described = {"scores": [{"name": "facts", "method": "sees", "options": {"factor": 2.0}}]}
    source = make_source(tmp_path, tiny_encoder_dir, **described)
    found = table(source.output.url).to_pylist()
    for row in found:
        if row["status"] == "rejected":
            assert row["facts_area"] is row["facts_shape"] is row["facts_near"] is None
        else:
            square = row["width"] == row["height"]
            assert row["facts_area"] == (None if square else row["width"] * row["height"])
            assert row["facts_shape"] == ("square" if square else "upright" if row["height"] > row["width"] else None)
            assert -2.0 <= row["facts_near"] <= 2.0
    again = Config.model_validate(
        {
            "input": {"run": source.output.url},
            "output": {"url": str(tmp_path / "again")},
            "encoder": {"cache_dir": source.encoder.cache_dir},
            "scores": [{"name": "facts", "method": "facts", "options": {"factor": 2.0}}],
            "run": source.run.model_dump(),
        }
    )
    assert run(again).status == "complete"
    first, second = facts(source.output.url), facts(tmp_path / "again")
    near = [[row.pop("facts_near") for row in rows] for rows in (first, second)]
    assert first == second
    assert near[1] == pytest.approx(near[0], abs=1e-5), "the last bits of a text's vector depend on its batch"
    assert "labels" in table(tmp_path / "again").column_names, "label sets of another name stay"


def test_refusals_name_the_way_out(tmp_path: Path, tiny_encoder_dir: Path) -> None:
    source = make_source(tmp_path, tiny_encoder_dir)

    def config(**scores: object) -> Config:
        return Config.model_validate({**source.model_dump(), "scores": [scores]})

    blind = Config.model_validate(
        {
            "input": {"run": source.output.url},
            "output": {"url": str(tmp_path / "again")},
            "scores": [{"name": "facts", "method": "sees"}],
        }
    )
    with pytest.raises(ConfigError, match=r"method sees needs pixels of the images.*use it in `curator label`"):
        run(blind)
    with pytest.raises(ConfigError, match=r"method facts has no option 'factr'; did you mean 'factor'\?"):
        label(config(name="facts", method="facts", options={"factr": 1}))
    with pytest.raises(ConfigError, match="named 'labels': give each its own name"):
        label(config(name="labels", method="facts"))


@pytest.mark.parametrize(("member", "noted"), [("txt", False), ("nope", True)])
def test_a_run_that_found_no_caption_says_so(tmp_path: Path, tiny_encoder_dir: Path, member: str, noted: bool) -> None:
    write_shards(tmp_path / "shards", 1, samples=8)
    plain = job_config(tmp_path / "shards", tiny_encoder_dir, tmp_path / "out").model_dump()
    plain["input"]["caption"] = member
    config = Config.model_validate({**plain, "scores": [{"name": "near", "method": "clip_score"}]})
    summary = label(config, fleet=local_fleet(config))
    assert summary.status == "complete"
    assert summary.totals["captioned"] == (0 if noted else 8)
    note = "none of 8 samples has a caption (input.caption = 'nope'): nothing to read for near"
    assert (note in summary.message) is noted


def test_other_options_are_another_run(tmp_path: Path, tiny_encoder_dir: Path) -> None:
    write_shards(tmp_path / "shards", 1, samples=8)
    plain = job_config(tmp_path / "shards", tiny_encoder_dir, tmp_path / "out").model_dump()
    one, two = (
        Config.model_validate(
            {**plain, "scores": [{"name": "facts", "method": "facts", "options": {"factor": factor}}]}
        )
        for factor in (1.0, 3.0)
    )
    assert label(one, fleet=local_fleet(one)).status == "complete"
    with pytest.raises(ConfigError, match="scores"):
        label(two, fleet=local_fleet(two))
