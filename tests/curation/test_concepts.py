"""Concept frequency: counts equal to naive ones over all rows, whatever was killed, changed or removed on the way."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from curator.config import Config
from curator.curation import frequencies
from curator.curation.concepts import Frequencies, Request, concept_frequencies
from curator.curation.counting import CountWorker
from curator.engine.backends.local import LocalFleet
from curator.storage import Storage, open_storage
from tests.curation.made_runs import LABELS, Row, make_run, random_rows, write_part
from tests.run.crashing import Crash, CrashingStorage

REQUEST = Request(concepts="things", columns=("entries", "things"), rare=3, t=4)


def config_of(run: Path, output: Path, **settings: Any) -> Config:
    base = {"attempts": 1, "in_flight": 1, "backoff_s": 0.05, "lock_ttl_s": 3600.0, "grace_s": 5.0}
    return Config.model_validate(
        {"input": {"run": str(run)}, "output": {"url": str(output)}, "run": {**base, **settings}}
    )


def count(
    run: Path, output: Path, request: Request = REQUEST, storage: Storage | None = None, **settings: Any
) -> Frequencies:
    def fleet(plan, inner):
        return LocalFleet(lambda: CountWorker(plan, inner), in_flight=plan.config.run.in_flight)

    return concept_frequencies(config_of(run, output, **settings), request, fleet=fleet, storage=storage)


def mentions(caption: str | None) -> set[str]:
    """By hand, for the captions of ``made_runs``: which labels they name when words are brought to base form."""
    return {
        "a dog": {"dog"},
        "two dogs, a cat": {"dog", "cat"},
        "The dog's house!": {"dog", "house"},
        "red house and a car": {"house", "red car"},
        "car red": {"red car"},
        "tree": {"tree"},
        "犬が走る": {"犬"},
        "a cat under trees": {"cat", "tree"},
    }.get(caption or "", set())


def naive(parts: Sequence[Sequence[Row]], min_score: float = 0.0) -> dict[str, Any]:
    text, image, both, entries, things = (Counter() for _ in range(5))
    captions, images, totals = Counter(), Counter(), Counter()
    for row in (row for rows in parts for row in rows):
        totals["samples"] += 1
        if not row.ok:
            continue
        named, seen = mentions(row.caption), {name for name, score in row.labels if score >= min_score}
        totals.update({"ok": 1, "captioned": bool(row.caption), "with_text": bool(named)})
        totals.update({"with_image": bool(seen), "aligned": bool(named & seen)})
        text.update(named)
        image.update(seen)
        both.update(named & seen)
        entries.update(row.entries)
        things.update(name.replace(" ", "_") for name, _ in row.labels)
        if row.caption:
            captions[hashlib.sha256(row.caption.encode()).hexdigest()[:32]] += 1
        images[row.sha256.hex()] += 1
    return {
        "text": text, "image": image, "both": both, "entries": entries, "things": things, "captions": captions,
        "images": images, "totals": totals,
    }  # fmt: skip


def assert_exact(output: Path, parts: Sequence[Sequence[Row]], min_score: float = 0.0) -> None:
    expected = naive(parts, min_score)
    table = pq.read_table(output / "concepts.parquet")
    assert table["name"].to_pylist() == LABELS
    for column in ("text", "image", "both"):
        found = dict(zip(LABELS, table[f"n_{column}"].to_pylist(), strict=True))
        assert found == {name: expected[column][name] for name in LABELS}, column
    for name in ("entries", "things"):
        counted = json.loads((output / f"entries-{name}.json").read_text())
        assert counted == dict(expected[name])
        assert list(counted.values()) == sorted(counted.values(), reverse=True)
    for section in ("captions", "images"):
        found = pq.read_table(output / f"{section}.parquet")
        assert dict(zip(found["digest"].to_pylist(), found["n"].to_pylist(), strict=True)) == dict(expected[section])
        assert found["digest"].to_pylist() == sorted(found["digest"].to_pylist())
    totals = json.loads((output / "totals.json").read_text())
    stated = totals["totals"]
    assert {name: stated[name] for name in expected["totals"]} == dict(expected["totals"])
    assert stated["different_captions"] == len(expected["captions"])
    rate = 1 - expected["totals"]["aligned"] / expected["totals"]["captioned"]
    assert totals["misalignment"] == pytest.approx(rate)
    named = 1 - expected["totals"]["aligned"] / expected["totals"]["with_text"]
    assert totals["misalignment_of_named"] == pytest.approx(named)


@pytest.fixture(scope="module")
def parts() -> list[list[Row]]:
    return [random_rows(50 + 7 * seed, seed) for seed in range(4)]


@pytest.fixture(scope="module")
def run(parts: list[list[Row]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("concepts") / "run", parts)


def test_counts_are_those_of_a_naive_count(run: Path, parts: list[list[Row]], tmp_path: Path) -> None:
    found = count(run, tmp_path / "out")
    assert found.summary.status == "complete"
    assert_exact(tmp_path / "out", parts)
    table = found.concepts.to_pylist()
    dog = table[0]
    assert dog["misalignment"] == pytest.approx(1 - dog["n_both"] / dog["n_text"])
    assert [row["rare"] for row in table] == [row["n_both"] < 3 for row in table]
    expected = naive(parts)["entries"]
    probabilities = {row["entry_id"]: row["probability"] for row in found.entries["entries"].to_pylist()}
    assert probabilities == {name: pytest.approx(min(1, 4 / n)) for name, n in expected.items()}
    assert found.limits == {"entries": 4, "things": 4}
    again = count(run, tmp_path / "out", replace(REQUEST, tail=0.5))
    assert again.summary.this_run["shards"] == 0
    assert again.totals == found.totals
    ordered = sorted(expected.values())
    shares = [abs(sum(ordered[: place + 1]) / sum(ordered) - 0.5) for place in range(len(ordered))]
    assert again.limits["entries"] == ordered[shares.index(min(shares))]
    assert again.limits["entries"] not in (4, ordered[0], ordered[-1])


def test_a_bound_on_scores_and_several_ranges_of_digests(
    run: Path, parts: list[list[Row]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frequencies, "BUCKET_ROWS", 20)
    request = Request(concepts="things", columns=("entries", "things"), min_score=0.5)
    assert count(run, tmp_path / "out", request).summary.status == "complete"
    assert_exact(tmp_path / "out", parts, min_score=0.5)


def test_a_part_that_changed_is_counted_anew_and_one_that_is_gone_no_longer(tmp_path: Path) -> None:
    parts = [random_rows(30, seed) for seed in range(3)]
    run = make_run(tmp_path / "run", parts)
    count(run, tmp_path / "out")
    changed = [parts[0], random_rows(40, 9), parts[2]]
    write_part(run, "s1.tar", changed[1])
    found = count(run, tmp_path / "out")
    assert found.summary.this_run["shards"] == 1
    assert_exact(tmp_path / "out", changed)
    for path in [*run.glob("part-*"), *(run / "_ledger" / "receipts").glob("*")]:
        if "s2.tar" in (path.read_text() if path.suffix == ".json" else "") or path.name in _part_of("s2.tar"):
            path.unlink()
    count(run, tmp_path / "out")
    assert_exact(tmp_path / "out", changed[:2])


def test_a_part_that_cannot_be_read_is_tried_again_each_time(tmp_path: Path) -> None:
    parts = [random_rows(20, seed) for seed in range(2)]
    run = make_run(tmp_path / "run", parts)
    part = sorted(run.glob("part-*"))[-1]  # the first one says what columns there are
    whole, times = part.read_bytes(), part.stat()
    part.write_bytes(whole[:-20] + bytes(20))
    os.utime(part, ns=(times.st_atime_ns, times.st_mtime_ns))
    told = subprocess.run(
        [sys.executable, "-m", "curator", "concepts", str(run), "--output", str(tmp_path / "out")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert told.returncode == 1
    assert ".tar cannot be read; repair" in " ".join(told.stderr.split())
    assert not (tmp_path / "out" / "totals.json").exists()
    part.write_bytes(whole)
    os.utime(part, ns=(times.st_atime_ns, times.st_mtime_ns))
    found = count(run, tmp_path / "out", Request())
    assert (found.summary.status, found.summary.this_run["shards"]) == ("complete", 1)
    assert found.totals["samples"] == 40


def _part_of(url: str) -> str:
    from curator.data import shard_id

    return f"part-{shard_id(url)}.parquet"


@pytest.mark.parametrize(
    "step",
    [
        pytest.param(7, id="some-operations"),
        pytest.param(1, id="every-operation", marks=[pytest.mark.slow, pytest.mark.timeout(900)]),
    ],
)
def test_resume_after_a_crash_at_an_operation(tmp_path: Path, step: int) -> None:
    parts = [random_rows(20, seed) for seed in range(2)]
    run = make_run(tmp_path / "run", parts)
    whole = CrashingStorage(open_storage())
    count(run, tmp_path / "whole", storage=whole)
    assert {"create", "write", "upload.commit"} <= set(whole.operations)
    for at in range(step // 2, len(whole.operations), step):
        for before in (True, False) if step == 1 else (at % 2 == 0,):
            output = tmp_path / f"{at}-{before}"
            with pytest.raises(Crash):
                count(run, output, storage=CrashingStorage(open_storage(), at, before=before))
            _bury(output)
            assert count(run, output).summary.status == "complete", (at, whole.operations[at], before)
            assert_exact(output, parts)


def _bury(output: Path) -> None:
    """The dead run's lock names a process that is no more."""
    lock = output / "_counts" / "_ledger" / "lock.json"
    if lock.exists():
        gone = subprocess.Popen(["true"])
        gone.wait()
        lock.write_text(json.dumps(json.loads(lock.read_text()) | {"pid": gone.pid}))


@pytest.mark.parametrize("kill_at", [0, 2])
def test_a_driver_killed_in_mid_run(run: Path, parts: list[list[Row]], tmp_path: Path, kill_at: int) -> None:
    """SIGKILL to the command itself after some receipts; the same command again, and the counts are exact."""
    program = f"""if True:
        from pathlib import Path
        from tests.curation.test_concepts import Killing, count
        count(Path({str(run)!r}), Path({str(tmp_path / "out")!r}), storage=Killing({kill_at}))
    """
    killed = subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[2], capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr  # by its own storage, about to make a receipt
    done = len(list((tmp_path / "out" / "_counts" / "_ledger" / "receipts").glob("*")))
    assert done == kill_at
    assert not (tmp_path / "out" / "totals.json").exists()
    command = [
        sys.executable, "-m", "curator", "concepts", str(run), "--output", str(tmp_path / "out"),
        "--concepts", "things", "--count", "entries", "--count", "things",
    ]  # fmt: skip
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    assert_exact(tmp_path / "out", parts)


class Killing(CrashingStorage):
    """Kills its process when the ``n``-th receipt (from 0) is about to be made."""

    def __init__(self, n: int) -> None:
        super().__init__(open_storage())
        self._left = n

    def create(self, url: str, data: bytes):
        if "/receipts/" in url:
            if not self._left:
                os.kill(os.getpid(), signal.SIGKILL)
            self._left -= 1
        return super().create(url, data)


def test_texts_alone_and_no_concepts_at_all(run: Path, parts: list[list[Row]], tmp_path: Path) -> None:
    expected = naive(parts)
    alone = count(run, tmp_path / "alone", Request(concepts="things", images="", rare=10**6))
    table = alone.concepts
    assert dict(zip(LABELS, table["n_text"].to_pylist(), strict=True)) == {n: expected["text"][n] for n in LABELS}
    assert set(table["n_image"].to_pylist()) == {0}
    assert (set(table["misalignment"].to_pylist()), alone.misalignment) == ({None}, None)
    assert all(table["rare"].to_pylist())
    none = count(run, tmp_path / "none", Request())
    assert none.concepts is None
    assert none.totals["captioned"] == expected["totals"]["captioned"]


def test_the_long_tail_is_drawn(run: Path, tmp_path: Path) -> None:
    count(run, tmp_path / "out", Request(concepts="things", plot=True))
    assert (tmp_path / "out" / "concepts.png").read_bytes().startswith(b"\x89PNG")
