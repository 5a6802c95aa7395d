"""The build of a caption bank: what is in it, and that stops, faults and other workers leave no trace in it."""

from __future__ import annotations

import gzip
import json
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from typer.testing import CliRunner

from curator.captions import CaptionBank
from curator.captions import index as curator_index
from curator.cli import app
from curator.config import Config
from curator.curation.bank import BankSettings
from curator.engine.fleet import LeaseDone
from curator.engine.ledger import Ledger
from curator.engine.progress import Progress
from curator.errors import ConfigError, RetryableError
from curator.storage import open_storage
from tests.builders import make_png, write_tar
from tests.curation.bank_jobs import CAPTIONS, bank_config, built, run, texts
from tests.encoder.tiny import save_tiny
from tests.run.jobs import open_encoder

STORAGE = open_storage()


@pytest.fixture
def config(tmp_path: Path, tiny_encoder_dir: Path) -> Config:
    """A build over three files: text, compressed text and Parquet, with captions that come twice."""
    folder = tmp_path / "captions"
    folder.mkdir()
    (folder / "a.txt").write_text("\n".join(CAPTIONS[:80]) + "\n\n  \n" + CAPTIONS[3] + "\n")
    with gzip.open(folder / "b.txt.gz", "wt") as file:
        file.write("\n".join([CAPTIONS[0], "a  red\tdog,\u00a0number 0 ", *CAPTIONS[60:110]]))
    table = pa.table({"caption": [*CAPTIONS[100:], None, "cafe\u0301", "caf\u00e9"]})
    pq.write_table(table, folder / "c.parquet", row_group_size=8)
    return bank_config(folder, tiny_encoder_dir, tmp_path / "bank", tmp_path / "cache")


def test_every_caption_once_in_order_with_its_vector(config: Config) -> None:
    facts = built(config)
    expected = [*CAPTIONS, "caf\u00e9"]
    assert texts(config) == expected
    assert facts.count == len(expected) == 141
    assert facts.captions == {"read": 83 + 52 + 43, "empty": 3, "duplicate": 34, "undecodable": 0, "too_long": 0}
    assert [source.rpartition("/")[2] for source in facts.sources] == ["a.txt", "b.txt.gz", "c.parquet"]
    encoder = open_encoder(config.encoder.name)
    assert (facts.encoder_digest, facts.precision, facts.dim) == (encoder.digest, "float32", encoder.dim)
    bank = CaptionBank.open(config.output.url, STORAGE, encoder=encoder)
    vectors = bank.vectors(np.arange(141))
    torch.testing.assert_close(vectors, encoder.embed_text(expected), atol=2e-3, rtol=0)
    scores, found = bank.search(encoder.embed_text(expected[:50]), 1)
    assert float(scores.min()) > 0.999
    assert found[:, 0].tolist() == list(range(50))
    receipts = Ledger(STORAGE, f"{config.output.url}/_build").receipts()
    assert sum(receipt.counters["captions"]["read"] for receipt in receipts) == facts.captions["read"]


def test_the_digest_does_not_depend_on_leases_workers_and_format(
    config: Config, tmp_path: Path, tiny_encoder_dir: Path
) -> None:
    facts = built(config)

    def other(name: str, captions: Path | list[str], settings: BankSettings, **sections: object) -> str:
        changed = bank_config(captions, tiny_encoder_dir, tmp_path / name, tmp_path / "cache", **sections)
        return built(changed, settings).digest

    one = BankSettings(lease_bytes=10**9)
    assert other("one", tmp_path / "captions", one, run={"in_flight": 1}) == facts.digest
    (tmp_path / "list.txt").write_text("\n".join([*CAPTIONS, "caf\u00e9"]))
    write_tar(
        tmp_path / "s.tar", [(f"{n:03d}", {"json": json.dumps({"c": c}).encode()}) for n, c in enumerate(CAPTIONS)]
    )
    member = {"caption": "json.c"}
    both = [str(tmp_path / "s.tar"), str(tmp_path / "list.txt")]
    assert other("text", tmp_path / "list.txt", BankSettings(lease_bytes=64)) == facts.digest
    assert other("shard", both, one, input=member) == facts.digest
    assert other("reversed", both[::-1], one, input=member) == facts.digest
    (tmp_path / "list.txt").write_text("\n".join(["caf\u00e9", *CAPTIONS]))
    assert other("order", tmp_path / "list.txt", one) != facts.digest


def test_stopped_resumed_and_then_nothing_to_do(config: Config, tmp_path: Path, tiny_encoder_dir: Path) -> None:
    stop = threading.Event()

    def observe(progress: Progress) -> None:
        if isinstance(progress.news, LeaseDone):
            stop.set()

    summary, facts = run(config, observe=observe, stop=stop)
    assert (summary.status, facts) == ("stopped", None)
    assert 0 < summary.shards["done"] < summary.shards["manifest"]
    with pytest.raises(ConfigError, match="begun and not finished: run the same"):
        CaptionBank.open(config.output.url, STORAGE)
    facts = built(config)
    before = {path.name: path.stat().st_mtime_ns for path in Path(config.output.url).iterdir() if path.is_file()}
    assert built(config) == facts
    assert {
        path.name: path.stat().st_mtime_ns for path in Path(config.output.url).iterdir() if path.is_file()
    } == before
    whole = bank_config(tmp_path / "captions", tiny_encoder_dir, tmp_path / "whole", tmp_path / "cache")
    assert built(whole) == facts
    (Path(config.output.url) / facts.vectors.name).unlink()
    assert built(config) == facts, "what is lost is merged again, without embedding anything"


def test_what_the_input_gains_loses_and_changes(config: Config, tmp_path: Path) -> None:
    first = built(config)
    (tmp_path / "captions" / "d.txt").write_text("a new caption\na red dog, number 0\n")
    summary, facts = run(config)
    assert facts is not None
    assert (summary.this_run["shards"], facts.count, texts(config)[-1]) == (1, 142, "a new caption")
    assert facts.digest != first.digest
    names = sorted(path.name for path in Path(config.output.url).iterdir() if path.is_file())
    assert names == sorted(["bank.json", facts.vectors.name, facts.texts.name]), "the files of the old bank are gone"
    (tmp_path / "captions" / "d.txt").write_text("another caption\n")
    assert run(config)[0].this_run["shards"] == 1
    assert texts(config)[-1] == "another caption"
    (tmp_path / "captions" / "d.txt").unlink()
    assert built(config).digest == first.digest


def test_a_bad_file_is_named_and_tried_again(config: Config, tmp_path: Path) -> None:
    path = tmp_path / "captions" / "b.txt.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    summary, facts = run(config)
    assert (summary.status, facts) == ("over_budget", None)
    assert "the gzip is cut" in summary.quarantined[0]["reason"]
    assert "the same `curator bank build` tries them again" in summary.message
    path.write_bytes(whole)
    assert built(config).count == 141


def test_a_file_that_changes_meanwhile_does_not_mix(config: Config, tmp_path: Path) -> None:
    def observe(progress: Progress) -> None:
        if isinstance(progress.news, LeaseDone) and progress.settled == 1:
            (tmp_path / "captions" / "c.parquet").write_bytes((tmp_path / "captions" / "other.parquet").read_bytes())

    pq.write_table(pa.table({"caption": ["x", "y"]}), tmp_path / "captions" / "other.parquet", row_group_size=1)
    only = config.model_copy(update={"run": config.run.model_copy(update={"in_flight": 1})})
    with pytest.raises(RetryableError, match=r"c\.parquet.*changed while the bank was built"):
        run(only, BankSettings(lease_bytes=10**9), observe=observe)
    built(only, BankSettings(lease_bytes=10**9))
    assert texts(only)[-2:] == ["x", "y"]


def test_what_cannot_begin_says_why(config: Config, tmp_path: Path) -> None:
    def refused(told: str, settings: BankSettings | None = None, **sections: object) -> None:
        with pytest.raises(ConfigError, match=told):
            run(Config.model_validate({**config.model_dump(), **sections}), settings)

    refused("no input", input={"urls": []})
    refused("index 'flat' is not known; use ivf, hnsw, pq, none", BankSettings(index="flat"))
    refused("encoding 'klingon' is not known", BankSettings(encoding="klingon"))
    refused(r"c\.parquet: has no column 'title', it has caption; choose one with --column", BankSettings("title"))
    built(config)
    refused("begun with another configuration", input={**config.input.model_dump(), "caption": "json.title"})
    other = save_tiny(tmp_path / "other", seed=1)
    refused("encoder_digest differ", encoder={**config.encoder.model_dump(), "name": f"local-dir:{other}"})


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", r"\(0 read, 0 empty, 0 duplicate\); name the column"),
        (b"\n \n", r"\(2 read, 2 empty, 0 duplicate\); name the column of Parquet files with --column"),
        (b"\n\xe9\n", r"1 not in the encoding .*name the column"),
        (b"\n\xe9\n\xe9", r"2 not in the encoding \(the first: .*x\.txt line 2\)\); give the encoding .* --encoding"),
        (b"x" * (2**20 + 1), r"1 longer than 1 MiB \(the first: .*x\.txt line 1\)\); give texts with a caption a line"),
    ],
)
def test_an_input_without_a_caption_says_what_was_there(
    tmp_path: Path, tiny_encoder_dir: Path, content: bytes, told: str
) -> None:
    (tmp_path / "x.txt").write_bytes(content)
    config = bank_config(tmp_path / "x.txt", tiny_encoder_dir, tmp_path / "bank", tmp_path / "cache")
    with pytest.raises(ConfigError, match=f"bank: the input holds no caption .*{told}"):
        built(config)


def test_what_is_no_text_is_counted_and_placed(
    tmp_path: Path, tiny_encoder_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = [f"a dog, number {n}".encode() for n in range(100)]
    lines[70] = lines[90] = b"caf\xe9 au lait"
    (tmp_path / "x.txt").write_bytes(b"\n".join(lines))
    config = bank_config(tmp_path / "x.txt", tiny_encoder_dir, tmp_path / "bank", tmp_path / "cache")
    facts = built(config, BankSettings(lease_bytes=200))
    place = f"{tmp_path}/x.txt line 71"
    assert (facts.count, facts.captions["undecodable"], facts.first_left_out) == (98, 2, {"undecodable": place})
    assert f"2 not in the encoding (the first: {place})" in caplog.text
    assert "build again into another --output with --encoding" in caplog.text
    assert f"2 not in the encoding (the first: {place})" in CliRunner().invoke(
        app, ["bank", "show", config.output.url]
    ).stdout.replace("\n", "")
    assert not any("\ufffd" in text for text in texts(config))
    with pytest.raises(ConfigError, match=r"reading\.encoding was 'utf-8', is 'cp1252'"):
        built(config, BankSettings(lease_bytes=200, encoding="cp1252"))
    other = bank_config(tmp_path / "x.txt", tiny_encoder_dir, tmp_path / "other", tmp_path / "cache")
    assert built(other, BankSettings(encoding="cp1252")).count == 99
    assert "caf\u00e9 au lait" in texts(other)


def test_a_bank_that_is_built_again_keeps_its_index(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("faiss")
    first = built(config, BankSettings(index="hnsw", lease_bytes=600))
    assert first.index is not None
    assert built(config) == first
    (tmp_path / "captions" / "d.txt").write_text("a new caption\n")
    grown = built(config)
    assert grown.count == first.count + 1
    assert grown.index is not None
    assert grown.index.kind == "hnsw"
    files = {path.name for path in Path(config.output.url).iterdir() if path.is_file()}
    assert files == {"bank.json", *(file.name for file in grown.files)}
    with monkeypatch.context() as patch:
        patch.setattr(curator_index, "_loaded", _no_faiss)
        with pytest.raises(ConfigError, match=r"pip install 'curator\[faiss\]'.*; --index none drops that index"):
            built(config)
        assert built(config, BankSettings(index="none", lease_bytes=600)).index is None, "and needs no FAISS"
    assert built(config).index is None


def _no_faiss() -> None:
    raise ImportError


def test_the_commands(config: Config, tmp_path: Path, tiny_encoder_dir: Path) -> None:
    runner = CliRunner()
    settings = ["--set", "encoder.precision=float32", "--set", f"encoder.cache_dir={tmp_path / 'cache'}"]
    encoder = f"local-dir:{tiny_encoder_dir}"
    made = runner.invoke(
        app,
        ["bank", "build", "--captions", str(tmp_path / "captions"), "-o", str(tmp_path / "b"), "--encoder", encoder,
         "--json", *settings],
    )  # fmt: skip
    assert made.exit_code == 0, made.output
    assert json.loads(made.stdout)["status"] == "complete"
    shown = runner.invoke(app, ["bank", "show", str(tmp_path / "b")]).stdout
    assert f"141 captions x {open_encoder(encoder).dim} dimensions" in shown
    assert "178 read, 3 empty, 34 duplicate\n" in shown
    assert "none: search is exact" in shown
    facts = json.loads(runner.invoke(app, ["bank", "show", str(tmp_path / "b"), "--json"]).stdout)
    assert facts["count"] == 141
    found = runner.invoke(app, ["bank", "search", str(tmp_path / "b"), CAPTIONS[5], "-k", "2", "--json", *settings])
    assert found.exit_code == 0, found.output
    best = json.loads(found.stdout)[CAPTIONS[5]]
    assert len(best) == 2
    assert best[0]["caption"] == CAPTIONS[5]
    table = runner.invoke(app, ["bank", "search", str(tmp_path / "b"), CAPTIONS[5], "-k", "1", *settings])
    assert table.stdout.splitlines() == [CAPTIONS[5], f"  {best[0]['score']:.4f}  {CAPTIONS[5]}"]
    (tmp_path / "picture.png").write_bytes(make_png())
    pictured = runner.invoke(
        app,
        [
            "bank",
            "search",
            str(tmp_path / "b"),
            "--image",
            str(tmp_path / "picture.png"),
            "-k",
            "3",
            "--json",
            *settings,
        ],
    )
    assert pictured.exit_code == 0, pictured.output
    (near,) = json.loads(pictured.stdout).values()
    assert len(near) == 3
    assert [each["score"] for each in near] == sorted((each["score"] for each in near), reverse=True)
    other = save_tiny(tmp_path / "other", seed=1)
    refused = runner.invoke(
        app, ["bank", "search", str(tmp_path / "b"), "x", "--set", f"encoder.name=local-dir:{other}"]
    )
    assert isinstance(refused.exception, ConfigError)
    assert "made by the encoder" in str(refused.exception)
    assert isinstance(runner.invoke(app, ["bank", "search", str(tmp_path / "b")]).exception, ConfigError)
