"""The run's small files, on memory and on disk: what is done, changed, given up, vanished, and of which run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from curator.data import Receipt, Shard
from curator.engine.ledger import Ledger, make_plan, version_of
from curator.engine.scheduler import Quarantine
from curator.errors import ConfigError, ExistsError
from curator.storage import LocalStorage, MemoryStorage, Storage

A = Shard("mem/a.tar", 10, "e1")
B = Shard("mem/b.tar", 20, "e2")
C = Shard("mem/c.tar", 30, "e3")


@pytest.fixture(params=["memory", "disk"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    if request.param == "disk":
        yield Ledger(LocalStorage(), f"{tmp_path}/out")
        return
    storage = MemoryStorage()
    yield Ledger(storage, f"memory://ledger-{tmp_path.name}/out")
    for entry in list(storage.list(f"memory://ledger-{tmp_path.name}/")):
        storage.delete(entry.url)


def receipt_of(shard: Shard, **changes: object) -> Receipt:
    made = Receipt(
        shard_id=shard.id,
        url=shard.url,
        size=shard.size,
        etag=shard.etag,
        attempt=1,
        samples=3,
        rows=3,
        rejected=1,
        reasons={"no_image": 1},
        part=f"part-{shard.id}.parquet",
        part_bytes=999,
        seconds={"read": 0.5},
        total_s=1.0,
        config_digest="c0ffee",
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def letter_of(shard: Shard, reason: str = "cut") -> Quarantine:
    return Quarantine(shard, reason, ("attempt 1 on w: cut",))


def test_a_receipt_reads_back_as_it_was(ledger: Ledger) -> None:
    receipt = receipt_of(A, salvaged="cut at 7", counters={"labels": {"cat": 2}})
    ledger.create_receipt(receipt)
    assert list(ledger.receipts()) == [receipt]


def test_a_receipt_is_created_once(ledger: Ledger) -> None:
    ledger.create_receipt(receipt_of(A))
    with pytest.raises(ExistsError):
        ledger.create_receipt(receipt_of(A, attempt=2))
    assert [receipt.attempt for receipt in ledger.receipts()] == [1]


def test_receipts_come_in_order_of_shard_id_also_many_and_some(ledger: Ledger) -> None:
    shards = [Shard(f"mem/{i}.tar", i, "e") for i in range(40)]
    for shard in shards:
        ledger.create_receipt(receipt_of(shard))
    ids = [receipt.shard_id for receipt in ledger.receipts()]
    assert ids == sorted(shard.id for shard in shards)
    some = {shards[3].id: ledger.done()[shards[3].id]}
    assert [receipt.url for receipt in ledger.receipts(some)] == ["mem/3.tar"]


def test_nothing_begun_is_an_empty_plan(ledger: Ledger) -> None:
    plan = make_plan([A, B], ledger)
    assert plan.todo == (A, B)
    assert (plan.done, plan.quarantined, plan.stale, plan.superseded, plan.vanished) == (0, (), {}, {}, {})
    assert ledger.run() is None
    assert ledger.summary() is None
    assert ledger.quarantined() == {}


def test_what_is_done_is_not_done_again_and_order_is_kept(ledger: Ledger) -> None:
    ledger.create_receipt(receipt_of(B))
    plan = make_plan([C, B, A], ledger)
    assert plan.todo == (C, A)
    assert plan.done == 1


@pytest.mark.parametrize("changed", [replace(A, size=11), replace(A, etag="e9")])
def test_a_changed_shard_is_to_do_and_its_receipt_is_stale(ledger: Ledger, changed: Shard) -> None:
    ledger.create_receipt(receipt_of(A))
    old = version_of(A.size, A.etag)
    plan = make_plan([changed], ledger)
    assert plan.todo == (changed,)
    assert plan.stale == {A.id: (old,)}
    assert plan.vanished == {}
    ledger.create_receipt(receipt_of(changed))
    killed = make_plan([changed], ledger)
    assert (killed.todo, killed.done) == ((), 1)
    assert killed.superseded == {A.id: (old,)}
    ledger.drop_receipts(A.id, killed.superseded[A.id])
    after = make_plan([changed], ledger)
    assert (after.done, after.superseded, after.stale) == (1, {}, {})
    assert [receipt.size for receipt in ledger.receipts()] == [changed.size]


def test_a_version_that_the_manifest_does_not_know_matches_by_id(ledger: Ledger) -> None:
    """A list of urls says neither size nor ETag: asking a million times would be the plan's whole cost."""
    ledger.create_receipt(receipt_of(A))
    unknown = Shard(A.url)
    assert version_of(None, "e1") is version_of(10, None) is None
    plan = make_plan([unknown, Shard(B.url)], ledger)
    assert (plan.done, plan.todo, plan.superseded) == (1, (Shard(B.url),), {})


def test_a_shard_done_without_a_known_version_is_done_again_once_it_is_known(ledger: Ledger) -> None:
    ledger.create_receipt(receipt_of(Shard(A.url)))
    assert make_plan([Shard(A.url)], ledger).done == 1
    assert make_plan([A], ledger).stale == {A.id: ("unknown",)}


def test_what_the_input_no_longer_names_has_vanished(ledger: Ledger) -> None:
    ledger.create_receipt(receipt_of(A))
    ledger.create_receipt(receipt_of(B))
    plan = make_plan([B, C], ledger)
    assert plan.vanished == {A.id: (version_of(A.size, A.etag),)}
    assert plan.todo == (C,)


def test_a_quarantined_shard_waits_for_its_release(ledger: Ledger) -> None:
    ledger.quarantine(letter_of(A))
    plan = make_plan([A, B], ledger)
    assert plan.quarantined == (A.id,)
    assert plan.todo == (B,)
    assert plan.outdated == ()
    assert ledger.quarantined()[A.id] == {
        "shard_id": A.id,
        "url": A.url,
        "size": 10,
        "etag": "e1",
        "reason": "cut",
        "attempts": ["attempt 1 on w: cut"],
    }
    ledger.release(A.id)
    ledger.release(A.id)
    assert make_plan([A, B], ledger).todo == (A, B)


def test_a_dead_letter_holds_for_the_content_that_it_was_written_for(ledger: Ledger) -> None:
    ledger.quarantine(letter_of(A))
    repaired = replace(A, etag="e2")
    plan = make_plan([repaired], ledger)
    assert plan.todo == (repaired,)
    assert plan.outdated == (A.id,)
    assert make_plan([Shard(A.url)], ledger).quarantined == (A.id,)


def test_a_dead_letter_of_a_shard_that_is_done_no_longer_holds(ledger: Ledger) -> None:
    """Else the run would be over its budget for ever."""
    ledger.quarantine(letter_of(A))
    ledger.create_receipt(receipt_of(A))
    plan = make_plan([A], ledger)
    assert (plan.done, plan.quarantined, plan.outdated) == (1, (), (A.id,))


@pytest.mark.parametrize("text", ["key \udcff\udc80", "lone \ud800", "鳥.tar", 'quote " \\ \n \x00'])
def test_whatever_stands_in_a_message_the_ledger_can_be_read_again(ledger: Ledger, text: str) -> None:
    """Keys of members are bytes of strangers, and messages quote them."""
    ledger.quarantine(letter_of(A, text))
    ledger.create_receipt(receipt_of(B, salvaged=text))
    assert ledger.quarantined()[A.id]["reason"] == text
    assert next(ledger.receipts()).salvaged == text
    assert make_plan([A, B], ledger).quarantined == (A.id,)


CONFIG = {"encoder": {"name": "embedded", "precision": "float32"}, "labels": [{"name": "labels", "top_k": 5}]}


def test_a_run_may_be_opened_again_with_the_same_digests(ledger: Ledger) -> None:
    ledger.check_run({"config_digest": "1"}, CONFIG)
    ledger.open_run({"config_digest": "1", "encoder_digest": "x"}, CONFIG, settings={"a": 1}, provenance={"b": "2"})
    ledger.open_run({"config_digest": "1", "encoder_digest": "x"}, CONFIG, settings={"a": 2})
    ledger.check_run({"config_digest": "1"}, CONFIG)
    run = ledger.run()
    assert run is not None
    assert run["settings"] == {"a": 1}
    assert run["provenance"] == {"b": "2"}
    assert run["config"] == CONFIG


def test_another_configuration_is_refused_and_what_differs_is_named(ledger: Ledger) -> None:
    ledger.open_run({"config_digest": "1", "encoder_digest": "x"}, CONFIG)
    other = {"encoder": {"name": "ViT-B-32", "precision": "float32"}, "labels": CONFIG["labels"], "new": 1}
    with pytest.raises(ConfigError) as caught:
        ledger.check_run({"config_digest": "2", "encoder_digest": "x"}, other)
    message = str(caught.value)
    assert message.startswith(f"{ledger.output}: was begun with another configuration (config_digest differ: ")
    assert "encoder.name was 'embedded', is 'ViT-B-32'" in message
    assert "new was None, is 1" in message
    assert "precision" not in message
    assert "choose a new output" in message


def test_a_file_whose_content_changed_is_named(ledger: Ledger) -> None:
    settings = {"free": [{"options": {}}, {"options": {"bank": "s3://b/bank"}}], "words": ["a"]}
    shaping = {
        "free": [{"options": {"bank_digest": "1"}}, {"options": {"bank_digest": "1", "k": 3}}],
        "words_digest": "1",
    }
    ledger.open_run({"config_digest": "1"}, shaping, settings=settings)
    other = {
        "free": [{"options": {"bank_digest": "2"}}, {"options": {"bank_digest": "2", "k": 4}}],
        "words_digest": "2",
    }
    with pytest.raises(ConfigError) as caught:
        ledger.check_run({"config_digest": "2"}, other)
    assert (
        "(config_digest differ: free.0.options.bank_digest was '1', is '2'; "
        "free.1.options.bank_digest (of s3://b/bank) was '1', is '2'; "
        "free.1.options.k was 3, is 4; words_digest was '1', is '2')"
    ) in str(caught.value)


def test_label_sets_and_contents_that_differ_are_told_without_their_digests(ledger: Ledger) -> None:
    one = {"name": "labels", "vocabulary": "a" * 64, "top_k": 5}
    settings = {"labels": [{"vocabulary": "/data/labels.txt"}]}
    ledger.open_run({"config_digest": "1"}, {"labels": [one]}, settings=settings)
    for labels, said in (
        ([{**one, "vocabulary": "b" * 64}], "labels.0.vocabulary says something else than /data/labels.txt did"),
        ([one, {**one, "name": "kinds"}], "labels was ['labels'], is ['labels', 'kinds']"),
        ([], "labels was ['labels'], is []"),
    ):
        with pytest.raises(ConfigError) as caught:
            ledger.check_run({"config_digest": "2"}, {"labels": labels})
        assert f"(config_digest differ: {said})" in str(caught.value)


def test_a_worker_that_loaded_other_weights_is_refused(ledger: Ledger) -> None:
    ledger.open_run({"config_digest": "1", "encoder_digest": "x"}, CONFIG)
    with pytest.raises(ConfigError, match="another configuration \\(encoder_digest differ\\); choose"):
        ledger.open_run({"config_digest": "1", "encoder_digest": "y"}, CONFIG)


def test_the_summary_is_replaced_and_dropped(ledger: Ledger) -> None:
    ledger.write_summary({"status": "stopped"})
    ledger.write_summary({"status": "complete"})
    assert ledger.summary() == {"status": "complete"}
    ledger.drop_summary()
    ledger.drop_summary()
    assert ledger.summary() is None


def test_a_run_with_an_id_keeps_a_summary_of_its_own(ledger: Ledger) -> None:
    ledger.write_summary({"status": "complete", "run_id": "2026-11-22"})
    ledger.write_summary({"status": "stopped", "run_id": "2026-11-23"})
    assert ledger.summary() == ledger.summary("2026-11-23") == {"status": "stopped", "run_id": "2026-11-23"}
    assert ledger.summary("2026-11-24") is None
    ledger.drop_summary("2026-11-23")
    assert (ledger.summary(), ledger.summary("2026-11-23")) == (None, None)
    assert ledger.summary("2026-11-22") == {"status": "complete", "run_id": "2026-11-22"}


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b'{"another": 1}'])
def test_a_damaged_file_is_named_with_the_way_out(ledger: Ledger, content: bytes) -> None:
    storage = ledger._storage
    ledger.open_run({"config": "a"}, {})
    ledger.create_receipt(receipt_of(A))
    ledger.write_summary({"status": "complete", "exit_status": 0})
    for url in [entry.url for entry in storage.list(ledger.root + "/")]:
        whole = storage.read(url)
        storage.write(url, content)
        with pytest.raises(ConfigError, match="is damaged") as caught:
            (ledger.run(), ledger.summary(), list(ledger.receipts()))
        assert str(caught.value).startswith(url)
        assert ("remove it" in str(caught.value)) != url.endswith("run.json")
        storage.write(url, whole)
    assert list(ledger.receipts()) == [receipt_of(A)]


def test_files_lie_where_other_readers_do_not_look(ledger: Ledger) -> None:
    storage: Storage = ledger._storage
    ledger.create_receipt(receipt_of(A))
    ledger.quarantine(letter_of(B))
    urls = [entry.url for entry in storage.list(ledger.output + "/")]
    assert urls == [
        f"{ledger.output}/_ledger/quarantine/{B.id}.json",
        f"{ledger.output}/_ledger/receipts/{A.id}-{version_of(A.size, A.etag)}.json",
    ]
    assert json.loads(storage.read(urls[1]))["url"] == A.url
