"""Where the words come from: openclipart's file names and metadata."""

from __future__ import annotations

from pathlib import Path

from curator.training import sources
from curator.training.clipart import read_clipart
from curator.training.emoji import code_key


def test_openclipart_takes_titles_from_metadata_then_from_the_file_name(tmp_path: Path) -> None:
    share = tmp_path / sources.CLIPART_PNG.folder / "usr/share/openclipart/png"
    (share / "animals").mkdir(parents=True)
    for name in ("animals/beagle_jane_doe_01", "animals/puppy_jane_doe_02", "animals/img_0001"):
        (share / f"{name}.png").write_bytes(b"")
    drawings = tmp_path / sources.CLIPART_SVG.folder / "usr/share/openclipart/svg/animals"
    drawings.mkdir(parents=True)
    (drawings / "beagle_jane_doe_01.svg").write_text(
        "<svg><metadata><dc:title>Sleeping dog</dc:title><rdf:li>animal</rdf:li><rdf:li>xyzzy</rdf:li></metadata></svg>"
    )
    nouns = frozenset({"dog", "puppy", "animal"})
    found = {item.code: item for item in read_clipart(tmp_path, nouns)}
    assert found["animals/beagle_jane_doe_01"].title == "sleeping dog"
    assert found["animals/beagle_jane_doe_01"].keywords == ("animal",)
    assert found["animals/puppy_jane_doe_02"].title == "puppy"
    assert found["animals/img_0001"].title == ""
    assert found["animals/img_0001"].categories == ("animals",)


def test_code_points_agree_whatever_the_package_writes() -> None:
    assert code_key("2764-FE0F-200D-1F525") == code_key("2764-200d-1f525")
