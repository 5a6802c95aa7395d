"""Gazetteers from every source: what they hold, what the rules leave out and count, and files that are not whole."""

from __future__ import annotations

import bz2
import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curator.entities.building import SourceEntity, build
from curator.entities.gazetteer import Gazetteer, check
from curator.entities.places import local_copy
from curator.entities.rules import Rules, stop_words
from curator.entities.sources import read_table, read_wikidata, read_wordnet
from curator.errors import ConfigError
from curator.storage import open_storage
from tests.entities.fakes import make

RULES = Rules(stop_words())


def item(number: int, label: str, *aliases: str, sitelinks: int = 0, types: tuple[str, ...] = (), **more: Any) -> Any:
    claims = {"P31": [{"mainsnak": {"datavalue": {"value": {"id": type_}}}} for type_ in types]}
    return {
        "type": "item", "id": f"Q{number}", "labels": {"en": {"language": "en", "value": label}},
        "aliases": {"en": [{"language": "en", "value": alias} for alias in aliases]},
        "descriptions": {"en": {"language": "en", "value": f"{label} it is"}},
        "claims": claims, "sitelinks": {f"{n}wiki": {} for n in range(sitelinks)}, **more,
    }  # fmt: skip


DUMP = [
    item(90, "Paris", "City of Light", sitelinks=299, types=("Q515",)),
    item(830149, "Paris", "Paris, Texas", sitelinks=29, types=("Q515",)),
    item(5, "Paris (disambiguation)", types=("Q4167410",)),
    item(6, "The", "Of the", "42", "X", "🦊", "!?", " ".join(["word"] * 13)),
    {"type": "property", "id": "P31", "labels": {"en": {"value": "instance of"}}},
    {"type": "item", "id": "Q7", "labels": {"fr": {"value": "sans nom"}}},
    {"type": "item", "id": "Q8", "labels": {"de": {"value": "München"}, "mul": {"value": "Munich"}}},
]


def array(items: list[Any]) -> bytes:
    return b"[\n" + b",\n".join(json.dumps(each).encode() for each in items) + b"\n]\n"


def lines(items: list[Any]) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in items)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("dump.jsonl", lines(DUMP)),
        ("latest-all.json", array(DUMP)),
        ("latest-all.json.gz", gzip.compress(array(DUMP))),
        ("latest-all.json.bz2", bz2.compress(array(DUMP))),
    ],
)
def test_a_wikidata_dump(tmp_path: Path, name: str, content: bytes) -> None:

    (tmp_path / name).write_bytes(content)
    skipped: Counter[str] = Counter()
    source = read_wikidata(str(tmp_path / name), open_storage(), languages=("en", "de"), skipped=skipped)
    built = build(source, tmp_path / "g", RULES, {"url": name})
    gazetteer = Gazetteer.open(tmp_path / "g")
    assert skipped == {"type": 1, "property": 1, "no_label": 1}
    dropped = {reason: count for reason, count in built.dropped.items() if count}
    assert dropped == {"stop_word": 2, "no_letter": 1, "short": 1, "empty": 1, "long": 1}
    assert gazetteer.facts["dropped"]["stop_word"] == 2
    assert len(gazetteer) == built.entities == 4
    meanings = [(gazetteer.entity(row).entity_id, share) for row, share in gazetteer.find("PARIS")]
    assert meanings == [("Q90", pytest.approx(300 / 330)), ("Q830149", pytest.approx(30 / 330))]
    city = gazetteer.entity(gazetteer.find("city of light")[0][0])
    assert (city.name, city.description, city.type, city.prior) == ("Paris", "Paris it is", "Q515", 300.0)
    assert gazetteer.entity(gazetteer.find("🦊")[0][0]).entity_id == "Q6"
    munich = gazetteer.entity(gazetteer.find("munchen")[0][0])
    assert (munich.entity_id, munich.name) == ("Q8", "München")
    assert gazetteer.find("Munich")
    check(tmp_path / "g")


def test_tables(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("entity_id,name,aliases,prior\n1,Fox,red fox|Reynard,2.5\n2,Wolf,,\n")
    rows = {
        "entity_id": ["1", "2"], "name": ["Fox", "Wolf"],
        "aliases": [["red fox", "Reynard"], None], "prior": [2.5, None],
    }  # fmt: skip
    pq.write_table(pa.table(rows), tmp_path / "t.parquet")
    of_csv, of_parquet = list(read_table(tmp_path / "t.csv")), list(read_table(tmp_path / "t.parquet"))
    assert of_csv == of_parquet
    assert of_csv[0] == SourceEntity("1", "Fox", (("red fox", 0.5), ("Reynard", 0.5)), prior=2.5)
    first = build(of_csv, tmp_path / "a", RULES, {"kind": "csv"})
    assert build(of_parquet, tmp_path / "b", RULES, {"kind": "parquet"}).digest == first.digest
    (tmp_path / "bad.csv").write_text("id,name\n1,x\n")
    with pytest.raises(ConfigError, match=r"columns id, name, but not entity_id"):
        list(read_table(tmp_path / "bad.csv"))
    (tmp_path / "bad.csv").write_bytes("entity_id,name\n1,Füchse\n".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"cannot be read as CSV in UTF-8"):
        list(read_table(tmp_path / "bad.csv"))
    (tmp_path / "bad.csv").write_text("entity_id,name,prior\n1,x,much\n")
    with pytest.raises(ConfigError, match=r"row 1: the prior 'much' is not a number"):
        list(read_table(tmp_path / "bad.csv"))


def test_meanings_that_nobody_means_go(tmp_path: Path) -> None:
    springs = [SourceEntity(f"S{n}", f"Spring number {n}", (("spring", 1.0),)) for n in range(7)]
    rivers = [SourceEntity("R", "Main", prior=96), SourceEntity("P", "Main", prior=3), SourceEntity("T", "Main")]
    built = build([*springs, *rivers], tmp_path / "g", RULES, {})
    gazetteer = Gazetteer.open(tmp_path / "g")
    assert gazetteer.find("spring") == []  # seven equal meanings: 1/7 < 0.15
    assert built.dropped["ambiguous"] == 1
    kept = {gazetteer.entity(row).entity_id: share for row, share in gazetteer.find("Main")}
    assert kept == {"R": pytest.approx(96 / 99), "P": pytest.approx(3 / 99)}  # 1 % is too little
    assert built.dropped["unlikely"] == 1
    few = build([*springs, *rivers], tmp_path / "h", Rules(stop_words(), min_share=0, most_candidates=2), {})
    assert few.dropped["ambiguous"] == 0
    assert len(Gazetteer.open(tmp_path / "h").find("spring")) == 2


def wordnet(folder: Path) -> Path:
    folder.mkdir()
    data = [
        "00000010 03 n 01 entity 0 000 | that which is",
        "00000020 03 n 02 bass 0 sea_bass 0 001 @ 00000010 n 0000 | a fish; \"he caught a bass\"",
        "00000030 03 n 01 bass 0 001 @ 00000010 n 0000 | a low voice",
        "00000040 03 n 01 mouse 0 001 @ 00000010 n 0000 | a rodent",
    ]  # fmt: skip
    index = ["bass n 2 1 @ 2 0 00000020 00000030", "sea_bass n 1 1 @ 1 0 00000020",
             "mouse n 1 1 @ 1 0 00000040", "entity n 1 0 1 0 00000010"]  # fmt: skip
    (folder / "data.noun").write_text("\n".join(data) + "\n")
    (folder / "index.noun").write_text("\n".join(index) + "\n")
    (folder / "cntlist.rev").write_text("")
    return folder


def test_wordnet_has_senses_and_plurals(tmp_path: Path) -> None:
    build(read_wordnet(wordnet(tmp_path / "dict")), tmp_path / "g", RULES, {})
    gazetteer = Gazetteer.open(tmp_path / "g")
    senses = [(gazetteer.entity(row).entity_id, share) for row, share in gazetteer.find("bass")]
    assert senses == [("n00000020", pytest.approx(2 / 3)), ("n00000030", pytest.approx(1 / 3))]
    assert gazetteer.entity(gazetteer.find("Mice")[0][0]).name == "mouse"
    assert gazetteer.entity(gazetteer.find("sea bass")[0][0]).description == "a fish"
    assert "mice" not in {
        alias for entity in read_wordnet(tmp_path / "dict", plurals=False) for alias, _ in entity.aliases
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"id": "Q1"\n', "line 1: not JSON"),
        (b"[\n{}\n]\n", "line 2: not an item of Wikidata"),
        (lines([item(1, "a cat"), item(1, "a dog")]), "'Q1' stands in the source twice"),
        (lines([item(1, "the")]), "no entity has an alias that the rules keep"),
    ],
)
def test_a_dump_that_says_nonsense(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "d.json").write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        build(read_wikidata(str(tmp_path / "d.json"), open_storage()), tmp_path / "g", RULES, {})
    assert not (tmp_path / "g").exists()


@pytest.mark.parametrize("name", ["t.tsv", "t.csv.gz", "t"])
def test_a_file_of_another_kind_is_told_what_is_read(tmp_path: Path, name: str) -> None:
    content = b"entity_id\tname\n1\tFox\n"
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    with pytest.raises(ConfigError, match=rf"{name}: is of no kind that is read.*end in .csv or .parquet, dumps in"):
        list(read_wikidata(str(tmp_path / name), open_storage()))


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress])
def test_a_dump_that_was_cut(tmp_path: Path, pack: Any) -> None:
    name = "d.json.gz" if pack is gzip.compress else "d.json.bz2"
    (tmp_path / name).write_bytes(pack(lines(DUMP * 50))[:-20])
    with pytest.raises(ConfigError, match="fetch the dump again"):
        list(read_wikidata(str(tmp_path / name), open_storage()))


def test_files_that_are_not_whole(tmp_path: Path) -> None:
    make(tmp_path / "g", SourceEntity("1", "fox"), SourceEntity("2", "wolf"))
    whole = (tmp_path / "g").read_bytes()
    for content, message in (
        (whole[: len(whole) // 2], "not a whole gazetteer"),
        (b"", "not a whole gazetteer"),
        (b"PAR1" * 100, "not a whole gazetteer"),
    ):
        (tmp_path / "h").write_bytes(content)
        with pytest.raises(ConfigError, match=message):
            Gazetteer.open(tmp_path / "h")
    (tmp_path / "h").write_bytes(whole.replace(b"wolf", b"wulf", 1))
    with pytest.raises(ConfigError, match="copy or build it again"):
        check(tmp_path / "h")
    with pytest.raises(ConfigError, match="curator gazetteer build"):
        Gazetteer.open(tmp_path / "none")


def test_a_remote_gazetteer_is_fetched_once(tmp_path: Path) -> None:
    make(tmp_path / "g", SourceEntity("1", "fox"))
    storage = open_storage()
    storage.write("memory://gazetteers/g", (tmp_path / "g").read_bytes())
    copy = local_copy("memory://gazetteers/g", storage, cache_dir=tmp_path / "cache", check=check)
    assert Gazetteer.open(copy).find("Fox")
    stamp = copy.stat().st_mtime_ns
    assert local_copy("memory://gazetteers/g", storage, cache_dir=tmp_path / "cache") == copy
    assert copy.stat().st_mtime_ns == stamp
    storage.write("memory://gazetteers/g", b"damaged")
    with pytest.raises(ConfigError, match="not a whole gazetteer"):
        local_copy("memory://gazetteers/g", storage, cache_dir=tmp_path / "cache", check=check)
    assert len(list((tmp_path / "cache" / "entities").glob("*.part"))) == 0
