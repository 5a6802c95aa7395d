"""Samples with several images: one is labelled, the others are counted and told of, and the settings choose which."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from curator.engine.ledger import Ledger
from curator.engine.run import label
from curator.errors import ConfigError
from curator.storage import open_storage
from curator.tables.readers import scan
from tests.builders import make_jpeg, make_png, write_tar
from tests.run.jobs import job_config


def run(tmp_path: Path, encoder: Path, **input: Any) -> tuple[Any, list[dict[str, Any]]]:
    samples = [
        ("a", {"jpg": make_jpeg(40, 30), "png": make_png(20, 10)}),
        ("b", {"left.jpg": make_jpeg(32, 24), "right.jpg": make_jpeg(24, 32)}),
        ("c", {"jpg": make_jpeg(16, 16), "txt": b"one"}),
    ]
    write_tar(tmp_path / "in" / "0.tar", samples)
    config = job_config(tmp_path / "in", encoder, tmp_path / "out", reject_budget=1.0)
    config = config.model_copy(update={"input": config.input.model_copy(update=input)})
    rows = []
    summary = label(config)
    for batch in scan(str(tmp_path / "out"), open_storage(), ["key", "status", "reason", "message", "width"]):
        rows += batch.to_pylist()
    return summary, rows


def test_the_first_image_is_labelled_and_the_others_are_told_of(tmp_path: Path, tiny_encoder_dir: Path) -> None:
    summary, rows = run(tmp_path, tiny_encoder_dir)
    assert [(row["status"], row["width"]) for row in rows] == [("ok", 40), ("rejected", None), ("ok", 16)]
    assert rows[1]["reason"] == "no_image"
    assert rows[1]["message"] == "members: left.jpg, right.jpg; input.image = 'left.jpg' would take one"
    assert "2 of 3 samples hold images beside the one that was labelled, which is the first" in summary.message
    assert "input.image" in summary.message
    (receipt,) = Ledger(open_storage(), str(tmp_path / "out")).receipts()
    assert receipt.counters["samples"]["several_images"] == 2
    assert summary.totals["several_images"] == 2


@pytest.mark.parametrize(
    ("image", "widths"), [("png", [20, None, None]), (".Right.JPG", [None, 24, None]), ("jpg", [40, None, 16])]
)
def test_the_settings_name_the_image(
    tmp_path: Path, tiny_encoder_dir: Path, image: str, widths: list[int | None]
) -> None:
    summary, rows = run(tmp_path, tiny_encoder_dir, image=image)
    assert [row["width"] for row in rows] == widths
    assert summary.totals["rejected"] == widths.count(None)
    with pytest.raises(ConfigError, match=r"input\.image was '.*', is None"):
        run(tmp_path, tiny_encoder_dir)


def test_where_each_sample_has_one_image_nothing_is_said(tmp_path: Path, tiny_encoder_dir: Path) -> None:
    write_tar(tmp_path / "in" / "0.tar", [("a", {"jpg": make_jpeg(), "txt": b"dog"})])
    summary = label(job_config(tmp_path / "in", tiny_encoder_dir, tmp_path / "out"))
    assert (summary.message, summary.totals["several_images"]) == ("", 0)


def test_an_image_of_a_kind_that_is_not_decoded_says_so(tmp_path: Path, tiny_encoder_dir: Path) -> None:
    samples = [("a", {"avif": b"x"}), ("b", {"heic": b"x", "jpg": make_jpeg()}), ("c", {"txt": b"x"})]
    write_tar(tmp_path / "in" / "0.tar", samples)
    label(job_config(tmp_path / "in", tiny_encoder_dir, tmp_path / "out"))
    (rows,) = [batch.to_pylist() for batch in scan(str(tmp_path / "out"), open_storage(), ["reason", "message"])]
    assert [row["reason"] for row in rows] == ["unsupported_format", None, "no_image"]
    assert rows[0]["message"] == "avif is not decoded; convert it to jpg, png, webp, gif, bmp or tiff"
