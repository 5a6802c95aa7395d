"""Template sets by name and from files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import open_clip
import pytest

from curator.errors import ConfigError
from curator.labels.templates import TEMPLATE_SETS, fill, template_set


@pytest.mark.parametrize(
    ("name", "source", "count"),
    [
        ("openai", open_clip.OPENAI_IMAGENET_TEMPLATES, 80),
        ("simple", open_clip.SIMPLE_IMAGENET_TEMPLATES, 7),
    ],
)
def test_open_clip_s_sets_fill_as_its_functions_do(name: str, source: list, count: int) -> None:
    templates = template_set(name)
    assert len(templates) == count
    for template, function in zip(templates, source, strict=True):
        assert fill(template, "tiger {x} cat") == function("tiger {x} cat")


def test_own_sets() -> None:
    assert template_set("plain") == ("{}",)
    assert template_set("photo") == ("a photo of a {}.",)
    assert all(template_set(name) for name in TEMPLATE_SETS)


def test_a_file_has_one_a_line(tmp_path: Path) -> None:
    path = tmp_path / "templates.txt"
    path.write_text("# two\na photo of a {}.\n\n  a #{} drawing  \n")
    assert template_set(path) == template_set(str(path)) == ("a photo of a {}.", "a #{} drawing")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a photo\n", "template 'a photo' must hold exactly one {}"),
        ("{} and {}\n", "exactly one {}"),
        ("# only\n", "holds no template"),
    ],
)
def test_mistakes_in_a_file_are_named(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "templates.txt"
    path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        template_set(path)


def test_unknown_sets_are_named() -> None:
    with pytest.raises(ConfigError, match="'opnai' is neither a template set nor a file; did you mean 'openai'"):
        template_set("opnai")
    with pytest.raises(ConfigError, match="there are openai, photo, plain, simple"):
        template_set("/no/such")


def test_no_set_imports_torch() -> None:
    program = (
        "import sys, curator.labels.heads as h; from curator.labels.templates import template_set; "
        "from curator.labels.vocabulary import Vocabulary; "
        "h.head_columns(h.LabelSetSpec('a', Vocabulary.load(['b']), template_set('openai'))); "
        "print('torch' in sys.modules, 'open_clip' in sys.modules)"
    )
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert output.stdout.split() == ["False", "False"]
