"""Reports on a dataset made by hand, whose numbers can be worked out on paper."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from curator.errors import ConfigError
from curator.evaluation.measure import evaluate
from curator.evaluation.page import render
from curator.evaluation.predictions import collect
from curator.evaluation.truth import read_truth
from curator.storage import open_storage
from tests.evaluation.dataset import write_output

RANKED = [
    [("cat", 0.9), ("food", 0.05)],
    [("cat", 0.9), ("bird", 0.05)],
    [("food", 0.6), ("cat", 0.3)],
    [("food", 0.6), ("bird", 0.3)],
    [("bird", 0.6), ("cat", 0.3)],
    [],
]
TRUTH = ["cat", "Cat", "hot_dog", "bird", "bird", "zebra"]


@pytest.fixture
def output(tmp_path: Path) -> str:
    return write_output(
        tmp_path / "out", RANKED, TRUTH,
        abstained=[False, False, False, True, False, True], foreign=[0.1, 0.2, 0.3, 0.9, 0.4, 0.8],
    )  # fmt: skip


def test_numbers_of_a_single_label_set(output: str) -> None:
    name, found = collect(output, open_storage(), None, read_truth("json.label"))
    assert (name, len(found.truth), found.left_out) == ("labels", 6, {"rejected": 1, "without truth": 1})
    report = evaluate(found, samples=200)
    measures = report["measures"]
    assert measures["top1"]["value"] == pytest.approx(4 / 6, abs=1e-6)
    assert measures["top5"]["value"] == pytest.approx(5 / 6, abs=1e-6), "a bird came second"
    assert measures["macro"]["value"] == pytest.approx((1 + 1 + 0.5 + 0) / 4, abs=1e-6)
    assert measures["ece"]["value"] == pytest.approx((2 * 0.1 + 3 * abs(0.6 - 2 / 3) + 0) / 6, abs=1e-6)
    assert measures["top1"]["low"] < 4 / 6 < measures["top1"]["high"]
    assert report["selective"]["coverage"] == pytest.approx(4 / 6, abs=1e-6)
    assert report["selective"]["risk"] == 0
    by_score, by_foreign = (report["selective"]["curves"][each] for each in ("score", "ood"))
    assert by_score["coverage"] == pytest.approx([2 / 6, 5 / 6, 1], abs=1e-6)
    assert by_score["risk"] == pytest.approx([0, 1 / 5, 2 / 6], abs=1e-6)
    assert by_foreign["risk"] == pytest.approx([0, 0, 0, 0, 1 / 5, 2 / 6], abs=1e-6)
    assert by_foreign["aurc"] == pytest.approx((1 / 5 + 2 / 6) / 6, abs=1e-6)
    assert report["confusions"] == [{"true": "bird", "given": "hot dog", "rows": 1}]
    table = {each["label"]: each for each in report["per_label"]}
    assert table["hot dog"] == {
        "label": "hot dog", "rows": 1, "given": 2, "precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3),
    }  # fmt: skip
    assert (table["zebra"]["rows"], table["zebra"]["given"], table["zebra"]["f1"]) == (1, 0, 0)
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert evaluate(found, samples=200) == report, "seeded"


def test_numbers_of_several_labels_a_row(tmp_path: Path) -> None:
    output = write_output(
        tmp_path / "out",
        [[("cat", 0.9), ("bird", 0.8)], [("bird", 0.7)], [("food", 0.6), ("cat", 0.5)]],
        [["cat"], ["cat", "bird"], []],
    )
    report = evaluate(collect(output, open_storage(), "labels", read_truth("json.label"))[1], samples=50)
    assert report["multi_label"]
    measures = report["measures"]
    assert measures["top1"]["value"] == pytest.approx(2 / 3, abs=1e-6)
    # cat: true in rows 0 and 1, scores 0.9, 0, 0.5 -> (1 + 2/3) / 2; bird: true in row 1, scores 0.8, 0.7, 0 -> 1/2
    assert measures["map"]["value"] == pytest.approx(((1 + 2 / 3) / 2 + 1 / 2) / 2, abs=1e-6)
    # kept 5, right 2 of 3 true ones
    assert measures["f1"]["value"] == pytest.approx(2 * (2 / 5) * (2 / 3) / (2 / 5 + 2 / 3), abs=1e-6)
    assert "confusions" not in report
    assert {each["label"]: each["given"] for each in report["per_label"]} == {"cat": 2, "bird": 2, "hot dog": 1}


def test_the_page_stands_alone_and_escapes(output: str) -> None:
    report = evaluate(collect(output, open_storage(), None, read_truth("json.label"))[1], samples=20)
    report["per_label"][0]["label"] = "<script>alert(1)</script>"
    page = render(report, title="labels in <out>")
    assert "<script" not in page
    assert "&lt;out&gt;" in page
    assert page.count("<svg") == 2
    assert "http" not in page


def test_truth_by_csv_key_and_caption(output: str, tmp_path: Path) -> None:
    (tmp_path / "truth.csv").write_text("key,label,label\n0000,cat\n0001,bird,cat\n\n")
    found = collect(output, open_storage(), None, read_truth(str(tmp_path / "truth.csv")))[1]
    assert [{found.names[code] for code in row} for row in found.truth] == [{"cat"}, {"bird", "cat"}]
    assert found.left_out == {"rejected": 0, "without truth": 6}
    caption = collect(output, open_storage(), None, read_truth("caption"))[1]
    assert caption.names[caption.truth[2][0]] == "caption 2"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name,label\n", "heading must be sample_id or key"),
        ("key\n", "heading must be"),
        ("", "heading must be"),
        ("key,label\na,b\na,c\n", "line 3: key 'a' stands twice"),
        (None, "neither caption, nor json.FIELD, nor a CSV"),
    ],
)
def test_truth_that_cannot_be_read(content: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "truth.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        read_truth(str(path))


def test_json_truth_of_every_shape() -> None:
    truth = read_truth("json.a.b")

    def of(metadata: bytes | None) -> tuple[str, ...] | None:
        return truth("id", "key", None, metadata)

    assert of(b'{"a": {"b": "cat"}}') == ("cat",)
    assert of(b'{"a": {"b": 3}}') == ("3",)
    assert of(b'{"a": {"b": ["cat", " ", "dog", "cat"]}}') == ("cat", "dog")
    assert of(b'{"a": {"b": []}}') == ()
    assert [of(each) for each in (b'{"a": 1}', b"[]", b"no json", None, b'{"a": {"b": ""}}')] == [None] * 5


def test_what_cannot_be_measured(output: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no row that is ok has a known truth"):
        collect(output, open_storage(), None, read_truth("json.absent"))
    with pytest.raises(ConfigError, match="takes one of labels"):
        collect(output, open_storage(), "others", read_truth("json.label"))
    with pytest.raises(ConfigError, match=r"holds no part"):
        collect(str(tmp_path / "empty"), open_storage(), None, read_truth("json.label"))


def test_png(output: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from curator.evaluation.figures import draw_curve, draw_report

    report = evaluate(collect(output, open_storage(), None, read_truth("json.label"))[1], samples=5)
    draw_report(report, tmp_path / "report.png")
    points = [{"bias": b, "first": 1 - b, "second": b, "harmonic": b * (1 - b)} for b in (0.0, 0.5, 1.0)]
    draw_curve(points, tmp_path / "curve.png", first="seen", second="unseen")
    for name in ("report.png", "curve.png"):
        assert (tmp_path / name).read_bytes()[:4] == b"\x89PNG"
