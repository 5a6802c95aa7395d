"""From a run to entity tags and back: gazetteer, labelling, a threshold, exemplars, links; by the commands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from curator.cli import app
from curator.config import Config
from curator.curation.entities import calibrate
from curator.entities.exemplars import read_exemplars
from curator.errors import ConfigError
from curator.storage import open_storage
from tests.curation.jobs import make_source, run, table
from tests.run.jobs import open_encoder


def curator(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def tagged(tmp_path_factory: pytest.TempPathFactory, tiny_encoder_dir: Path) -> tuple[Config, Path]:
    """A run whose captions ("picture 3 of seed 8") are tagged in the labelling itself, and its gazetteer."""
    folder = tmp_path_factory.mktemp("entities")
    rows = ["entity_id,name,aliases,description", "P,portrait,painting,an image", "S,seed,,of a plant"]
    rows += [f"N{n},picture {n},,the {n}th" for n in range(4)]
    (folder / "things.csv").write_text("\n".join(rows) + "\n")
    words = folder / "words.txt"
    words.write_text("plant\n")
    printed = curator("gazetteer", "build", folder / "things.csv", "-o", folder / "things.arrow", "--stop-words", words)
    assert "6 entities, 7 aliases" in printed
    entities = [
        {
            "name": "entities",
            "method": "mofi",
            "options": {"gazetteer": str(folder / "things.arrow"), "threshold": -1.0, "mentions": True},
        }
    ]
    return make_source(folder, tiny_encoder_dir, entities=entities), folder / "things.arrow"


def names(tags: list[dict[str, object]] | None) -> list[object] | None:
    return None if tags is None else sorted(str(tag["name"]) for tag in tags)


def test_captions_are_tagged_in_the_labelling_run(tagged: tuple[Config, Path]) -> None:
    rows = table(tagged[0].output.url).to_pylist()
    ok = [row for row in rows if row["status"] == "ok"]
    assert ok
    for row in ok:
        number = int(row["caption"].split()[1])
        expected = [*([f"picture {number}"] if number < 4 else []), "seed"]
        assert names(row["entities"]) == expected
        assert names(row["entities_mentions"]) == expected
    assert all(row["entities"] is None for row in rows if row["status"] == "rejected")


def test_a_relabelling_run_tags_alike(tagged: tuple[Config, Path], tmp_path: Path) -> None:
    source = tagged[0]
    config = Config.model_validate(
        {
            "input": {"run": source.output.url},
            "output": {"url": str(tmp_path / "again")},
            "encoder": {"cache_dir": source.encoder.cache_dir},
            "entities": [each.model_dump() for each in source.entities],
            "run": source.run.model_dump(),
        }
    )
    assert run(config).status == "complete"
    before, after = table(source.output.url).to_pylist(), table(tmp_path / "again").to_pylist()
    assert [names(row["entities"]) for row in after] == [names(row["entities"]) for row in before]


def test_show(tagged: tuple[Config, Path]) -> None:
    assert "left out" not in curator("gazetteer", "show", tagged[1])
    assert "aliases: 7" in curator("gazetteer", "show", tagged[1])
    assert "P  portrait" in curator("gazetteer", "show", tagged[1], "Painting")
    with pytest.raises(ConfigError, match="no alias 'xyz'"):
        curator("gazetteer", "show", tagged[1], "xyz")


def test_a_registry_is_harvested_and_rows_are_linked(tagged: tuple[Config, Path], tmp_path: Path) -> None:
    source = tagged[0].output.url
    printed = curator("entities", "harvest", source, "-o", tmp_path / "r", "--min-evidence", 2)
    exemplars = read_exemplars(tmp_path / "r")
    assert f"{len(exemplars.ids)} entities" in printed
    rows = [row for row in table(source).to_pylist() if row["status"] == "ok"]
    place = list(exemplars.ids).index("S")
    mean = np.mean([row["embedding"] for row in rows], axis=0)
    assert exemplars.evidence[place] == len(rows)
    np.testing.assert_allclose(exemplars.vectors[place], mean / np.linalg.norm(mean), atol=1e-4)
    printed = curator("entities", "link", source, "--exemplars", tmp_path / "r", "-o", tmp_path / "l", "--cutoff", 1)
    links = pq.read_table(tmp_path / "l").to_pylist()
    assert [row["sample_id"] for row in links] == [row["sample_id"] for row in rows]
    assert all((row["entity_id"] is None) == (row["group"] is not None) for row in links)
    curator("entities", "link", source, "--exemplars", tmp_path / "r", "-o", tmp_path / "l", "--cutoff", -1)
    links = pq.read_table(tmp_path / "l").to_pylist()
    assert all(row["entity_id"] in exemplars.ids and row["group"] is None for row in links)


def test_outliers_leave_their_entity(tagged: tuple[Config, Path], tmp_path: Path) -> None:
    source = tagged[0].output.url
    curator("entities", "harvest", source, "-o", tmp_path / "a", "--pool", "image+text")
    everything = read_exemplars(tmp_path / "a")
    assert everything.pool == "image+text"
    with pytest.raises(ConfigError, match="no entity of column 'entities' has 99 images"):
        curator("entities", "harvest", source, "-o", tmp_path / "b", "--min-evidence", 99)
    with pytest.raises(ConfigError, match="lower --min-evidence"):
        curator("entities", "harvest", source, "-o", tmp_path / "b", "--min-similarity", 1)


def test_a_threshold_is_a_quantile_of_foreign_mentions(tagged: tuple[Config, Path]) -> None:
    config, gazetteer = tagged
    encoder = open_encoder(config.encoder.name)
    with pytest.raises(ConfigError, match="foreign captions; give more rows"):
        calibrate(config.output.url, str(gazetteer), open_storage(), encoder, quantile=0.9, rows=100)
    found = calibrate(config.output.url, str(gazetteer), open_storage(), encoder, quantile=0.5, rows=100, least=1)
    rows = [row for row in table(config.output.url).to_pylist() if row["status"] == "ok"]
    own = sorted(tag["score"] for row in rows for tag in row["entities_mentions"])
    np.testing.assert_allclose(np.sort(found.own), own, atol=2e-3)
    assert found.threshold == pytest.approx(float(np.median(found.foreign)))
    assert 0 < len(found.foreign) < len(rows)  # "seed" is everybody's own
    assert found.own_kept == pytest.approx(np.mean(np.array(own) >= found.threshold), abs=0.06)


def test_files_go_where_they_are_sent(tagged: tuple[Config, Path], tmp_path: Path) -> None:
    storage = open_storage()
    curator("gazetteer", "build", tagged[1].with_name("things.csv"), "-o", "memory://sent/things.gazetteer")
    assert "S" in curator("gazetteer", "show", "memory://sent/things.gazetteer", "seed")
    source = tagged[0].output.url
    curator("entities", "harvest", source, "-o", "memory://sent/e.parquet", "--min-evidence", 2)
    links = ["--exemplars", "memory://sent/e.parquet", "-o", "memory://sent/l.parquet", "--cutoff", "0.5"]
    curator("entities", "link", source, *links)
    assert pq.read_table(pa.BufferReader(storage.read("memory://sent/l.parquet"))).num_rows
    (tmp_path / "file").write_text("no folder")
    for place in (tmp_path / "file" / "below", tmp_path):
        with pytest.raises(ConfigError, match=r"cannot be written .*; choose another place"):
            curator("entities", "harvest", source, "-o", place)
    with pytest.raises(ConfigError, match="no entities in a column 'caption'; there are entities, entities_mentions"):
        curator("entities", "harvest", source, "-o", tmp_path / "x", "--column", "caption")
