"""Rules against conditions written out, over a run made by hand; percentiles against numpy."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from curator.cli import app
from curator.config import Config
from curator.curation.concepts import Request, concept_frequencies
from curator.curation.percentiles import percentiles
from curator.curation.rule_table import apply_rules
from curator.curation.rules import Rule, RuleSet, read_rules
from curator.errors import ConfigError
from curator.kernels.ngrams import NEVER, NgramRanks, ngram_key
from curator.storage import open_storage
from curator.tables.readers import scan
from tests.curation.made_runs import Row, make_run, random_rows

POSTS = [
    {"score": 5, "over_18": False, "removed_by_category": None},
    {"score": 1, "over_18": False},
    {"score": 9, "over_18": True},
    {"score": 9, "removed_by_category": "moderator"},
    {"score": "many"},
    {"score": 2, "deep": {"x": [1]}},
    None,
]


def rows_of(seed: int) -> list[Row]:
    rng = np.random.default_rng(seed)
    rows = []
    for number, row in enumerate(random_rows(60, seed)):
        size = (int(rng.integers(100, 900)), int(rng.integers(100, 400)))
        caption = None if row.caption is None else row.caption * int(rng.integers(1, 12))
        caption = "the same caption again" if number % 5 == 0 else caption
        post = POSTS[number % len(POSTS)]
        metadata = None if post is None else json.dumps(post).encode()
        rows.append(Row(caption, (), (), row.ok, row.sha256, row.score, size, metadata))
    return rows


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return [*rows_of(0), *rows_of(1)]


@pytest.fixture(scope="module")
def run(rows: list[Row], tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_run(tmp_path_factory.mktemp("rules") / "run", [rows[:60], rows[60:]]))


@pytest.fixture(scope="module")
def counted(run: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    output = str(tmp_path_factory.mktemp("counted"))
    concept_frequencies(Config.model_validate({"input": {"run": run}, "output": {"url": output}}), Request())
    return output


def verdicts(path: Path, run: str) -> dict[str, tuple[bool, list[str] | None]]:
    table = pq.read_table(path).to_pylist()
    identities = [name for batch in scan(run, open_storage(), ["sample_id"]) for name in batch.column(0).to_pylist()]
    assert [row["sample_id"] for row in table] == identities
    return {row["sample_id"]: (row["kept"], row["failed"]) for row in table}


def in_order(run: str, rows: list[Row]) -> list[Row]:
    """The rows in the order in which the parts of the run are read."""
    urls = [url for batch in scan(run, open_storage(), ["shard"]) for url in batch.column(0).to_pylist()]
    return [*rows[:60], *rows[60:]] if urls[0] == "s0.tar" else [*rows[60:], *rows[:60]]


def test_align(run: str, rows: list[Row], counted: str, tmp_path: Path) -> None:
    out = tmp_path / "verdicts.parquet"
    report = apply_rules(run, open_storage(), read_rules("align"), frequencies=counted, output=str(out))
    ok = [row for row in rows if row.ok]
    captions = Counter(row.caption for row in ok if row.caption)
    images = Counter(row.sha256 for row in ok)
    assert captions.most_common(1)[0][1] > 10

    def failed(row: Row) -> list[str]:
        short, long = sorted(row.size)
        words = len(row.caption.split()) if row.caption else 0
        checks = {
            "short_side": short > 200,
            "aspect": long / short < 3,
            "captions_of_image": images[row.sha256] <= 1000,
            "images_of_caption": bool(row.caption) and captions[row.caption] <= 10,
            "few_words": words >= 3,
            "many_words": words <= 20,
        }
        return [name for name, fine in checks.items() if not fine]

    expected = [(row.ok and not failed(row), failed(row) if row.ok else None) for row in in_order(run, rows)]
    assert list(verdicts(out, run).values()) == expected
    assert (report.rows, report.kept) == (120, sum(kept for kept, _ in expected))
    assert report.rejected == sum(not row.ok for row in rows)
    drops = Counter(name for row in ok for name in failed(row))
    assert report.dropped == {name: drops[name] for name in report.dropped}
    alone = Counter(failed(row)[0] for row in ok if len(failed(row)) == 1)
    assert report.alone == {name: alone[name] for name in report.dropped}
    assert all(drops[name] for name in ("short_side", "aspect", "images_of_caption", "few_words", "many_words"))
    with pytest.raises(ConfigError, match="give the output of `curator concepts RUN`"):
        apply_rules(run, open_storage(), read_rules("align"), frequencies="memory://nothing")
    with pytest.raises(ConfigError, match="give --frequencies"):
        apply_rules(run, open_storage(), read_rules("align"))


def test_rare_tokens(rows: list[Row], run: str, tmp_path: Path) -> None:
    output = str(tmp_path / "ngrams")
    config = Config.model_validate({"input": {"run": run}, "output": {"url": output}})
    found = concept_frequencies(config, Request(ngrams=True))
    captions = [row.caption for row in rows if row.ok and row.caption]
    grams = Counter(gram for caption in captions for gram in naive_ngrams(caption))
    table = {row["ngram"]: row["n"] for row in pq.read_table(f"{output}/ngrams.parquet").to_pylist()}
    assert table == grams
    assert found.totals["different_ngrams"] == len(grams)

    def rank(caption: str) -> int:
        """1 + how many n-grams occur more often than its rarest."""
        return max(1 + sum(n > grams[gram] for n in grams.values()) for gram in naive_ngrams(caption))

    ranks = sorted({rank(caption) for caption in captions})
    most = ranks[len(ranks) // 2]
    assert ranks[0] <= most < ranks[-1]
    rules = (Rule("rare_tokens", "caption.ngram_rank", "at_most", most, keep_missing=True, optional=True),)
    out = tmp_path / "verdicts.parquet"
    report = apply_rules(run, open_storage(), rules, frequencies=output, output=str(out))
    expected = [row.ok and (not row.caption or rank(row.caption) <= most) for row in in_order(run, rows)]
    assert [kept for kept, _ in verdicts(out, run).values()] == expected
    assert report.dropped == {"rare_tokens": sum(rank(caption) > most for caption in captions)}
    aligned = apply_rules(run, open_storage(), read_rules("align"), frequencies=output)
    assert aligned.skipped == ()
    assert aligned.dropped["rare_tokens"] == 0  # fewer n-grams than a hundred million


def naive_ngrams(caption: str) -> list[str]:
    words = caption.lower().split()
    return words + [" ".join(words[place : place + 2]) for place in range(len(words) - 1)]


def test_a_token_that_was_never_counted_is_rarer_than_all() -> None:
    keys = sorted((int(ngram_key(gram), 16), n) for gram, n in (("a", 5), ("b", 5), ("c", 1)))
    ranks = NgramRanks(np.array([key for key, _ in keys], np.uint64), np.array([n for _, n in keys], np.int64))
    assert ranks.rarest(["A", "b", "c", "", "d", "a b"]) == [1, 1, 3, 0, NEVER, NEVER]
    assert NgramRanks(np.zeros(0, np.uint64), np.zeros(0, np.int64)).rarest(["a"]) == [NEVER]


def test_counts_of_another_run_are_said_to_be(run: str, rows: list[Row], counted: str, tmp_path: Path) -> None:
    rules = read_rules("align")
    assert apply_rules(run, open_storage(), rules, frequencies=counted).note == ""
    assert apply_rules(run, open_storage(), rules, frequencies=counted).skipped == ("rare_tokens",)
    other = str(make_run(tmp_path / "other", [rows[:30], rows[60:]]))
    note = apply_rules(other, open_storage(), rules, frequencies=counted).note
    assert "are not those of" in note
    assert "of its 2 parts are not among them" in note
    (tmp_path / "copy").mkdir()
    for name in ("captions.parquet", "images.parquet"):
        shutil.copy(f"{counted}/{name}", tmp_path / "copy")
    assert "is not known" in apply_rules(run, open_storage(), rules, frequencies=str(tmp_path / "copy")).note
    result = CliRunner().invoke(app, ["rules", other, "--rules", "align", "--frequencies", counted, "--json"])
    assert result.exit_code == 0
    assert json.loads(result.stdout)["note"] == note
    with pytest.raises(ConfigError, match="--ngrams"):
        apply_rules(run, open_storage(), (Rule("r", "caption.ngram_rank", "at_most", 9),), frequencies=counted)


def test_redcaps(run: str, rows: list[Row], tmp_path: Path) -> None:
    out = tmp_path / "verdicts.parquet"
    report = apply_rules(run, open_storage(), read_rules("redcaps"), output=str(out))
    assert report.skipped == ("nsfw", "faces")
    assert report.note == ""

    def failed(number: int, row: Row) -> list[str]:
        post = POSTS[number % 60 % len(POSTS)] or {}
        checks = {
            "upvotes": isinstance(post.get("score"), int) and post["score"] >= 2,
            "marked_nsfw": post.get("over_18") is not True,
            "removed": post.get("removed_by_category") is None,
            "caption": bool(row.caption),
        }
        return [name for name, fine in checks.items() if not fine]

    expected = [
        (row.ok and not failed(n, row), failed(n, row) if row.ok else None) for n, row in enumerate(in_order(run, rows))
    ]
    assert list(verdicts(out, run).values()) == expected
    assert 0 < report.kept < 120


def test_rules_of_ones_own_as_a_filter(run: str, rows: list[Row], tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        '[[rules]]\nname = "good"\nvalue = "column.score"\nabove = 0.25\n'
        '[[rules]]\nname = "kind"\nvalue = "metadata.deep.x"\nis_not = [[1]]\nmissing = "keep"\n'
        '[[rules]]\nname = "format"\nvalue = "image.format"\nis = ["PNG", "JPEG"]\n'
    )
    chosen = RuleSet(read_rules(str(path)), ["score", "metadata", "format"])
    assert chosen.columns == ["format", "metadata", "sample_id", "score", "status"]
    kept = [bool(each) for batch in scan(run, open_storage(), chosen.columns) for each in chosen(batch)[0]]
    expected = [
        row.ok and np.float32(row.score) > 0.25 and n % 60 % 7 != 5 for n, row in enumerate(in_order(run, rows))
    ]
    assert kept == expected
    assert 0 < sum(kept) < 120


def test_values_that_cannot_be_compared_are_missing() -> None:
    drop, keep = (Rule("r", "metadata.x", "at_least", 2, keep_missing=keep) for keep in (False, True))
    values = [1, 2, 2.5, None, "3", True, [4]]
    assert drop.holds(values).tolist() == [False, True, True, False, False, False, False]
    assert keep.holds(values).tolist() == [False, True, True, True, True, True, True]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "no list named 'rules'"),
        ("{", "not valid TOML or JSON"),
        ('{"rules": [5]}', "rule 1 is 5"),
        ('{"rules": [{"name": "a", "value": "image.width"}]}', "one of at_least"),
        ('{"rules": [{"name": "a", "value": "image.width", "at_least": 1, "at_most": 2}]}', "one of at_least"),
        ('{"rules": [{"name": "a", "value": "image.widht", "at_least": 1}]}', "did you mean 'width'"),
        ('{"rules": [{"name": "a", "value": "wide", "at_least": 1}]}', "must begin with image"),
        ('{"rules": [{"name": "a", "value": "image.width", "at_leest": 1}]}', "did you mean 'at_least'"),
        ('{"rules": [{"name": "a", "value": "image.width", "at_least": "1"}]}', "must be a number"),
        ('{"rules": [{"name": "a", "value": "image.width", "at_least": 1, "missing": "?"}]}', "drop or keep"),
        (
            '{"rules": [{"name": "a", "value": "image.width", "at_least": 1},'
            ' {"name": "a", "value": "image.width", "at_most": 9}]}',
            "two rules are named 'a'",
        ),
    ],
)
def test_rules_that_say_nonsense(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "rules.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_rules(str(path))


def test_rules_that_the_run_cannot_answer(run: str) -> None:
    with pytest.raises(ConfigError, match="neither of align, redcaps nor a file"):
        read_rules("laion")
    with pytest.raises(ConfigError, match="did you mean 'score'"):
        apply_rules(run, open_storage(), (Rule("r", "column.skore", "at_least", 0),))


def test_percentiles(run: str, rows: list[Row], tmp_path: Path) -> None:
    known = np.array([row.score for row in rows if row.ok], np.float32)
    row, of_counts = percentiles(run, open_storage(), keep=0.3).to_pylist()
    assert (row["column"], row["by"], row["n"], row["null"]) == ("score", None, len(known), 0)
    for p in (1, 5, 50, 99):
        assert row[f"p{p}"] == pytest.approx(np.percentile(known, p), abs=1e-6)
    assert (known >= row["threshold"]).mean() >= 0.3 > (known > row["threshold"]).mean()
    chars = [len(row.caption) for row in rows if row.ok and row.caption]
    assert (of_counts["column"], of_counts["n"], of_counts["null"]) == ("chars", len(chars), len(known) - len(chars))
    assert (of_counts["min"], of_counts["max"]) == (min(chars), max(chars))
    assert of_counts["p50"] == np.percentile(chars, 50)
    (widths,) = percentiles(run, open_storage(), ["width"]).to_pylist()
    assert widths["mean"] == pytest.approx(np.mean([row.size[0] for row in rows if row.ok]))
    by_language = percentiles(run, open_storage(), ["score"], by="language").to_pylist()
    divided = {row["by"]: row for row in by_language}
    assert set(divided) == {None, "en", "ja"}
    japanese = [row.score for row in rows if row.ok and row.caption and not row.caption.isascii()]
    assert divided["ja"]["n"] == len(japanese)
    assert divided["ja"]["mean"] == pytest.approx(np.mean(japanese), abs=1e-6)
    assert divided[None]["threshold"] is None
    for options, message in [
        ({"columns": ["things"]}, "no numbers in a column 'things'; there are score, chars, width, height"),
        ({"by": "things"}, "no text column 'things'"),
        ({"keep": 2.0}, "is a share"),
    ]:
        with pytest.raises(ConfigError, match=message):
            percentiles(run, open_storage(), **options)
    with pytest.raises(ConfigError, match=r"no part-\*"):
        percentiles(str(tmp_path), open_storage())


def test_the_commands(run: str, counted: str, tmp_path: Path) -> None:
    def curator(*arguments: str) -> str:
        told = CliRunner().invoke(app, list(arguments))
        assert told.exit_code == 0, told.output
        return told.stdout

    found = json.loads(curator("rules", run, "--rules", "align", "--frequencies", counted, "--json"))
    assert found["rows"] == 120
    assert "few_words" in curator("rules", run, "--rules", "align", "--frequencies", counted)
    assert "left out" in curator("rules", run, "--rules", "redcaps")
    out = tmp_path / "p.parquet"
    assert json.loads(curator("percentiles", run, "--keep", "0.5", "--json", "--output", str(out)))[0]["n"] > 100
    assert pq.read_table(out)["column"].to_pylist() == ["score", "chars"]
    assert "score" in curator("percentiles", run)
