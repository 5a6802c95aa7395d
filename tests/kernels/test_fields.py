"""What stands in a sample's json: nested by keys, whatever else the json may be."""

from __future__ import annotations

import pytest

from curator.kernels.fields import texts_at, value_at


@pytest.mark.parametrize(
    ("metadata", "path", "value"),
    [
        (b'{"caption": "a dog"}', ["caption"], "a dog"),
        ('{"meta": {"caption": "a dog"}}', ["meta", "caption"], "a dog"),
        (b'{"meta": {"caption": "a dog"}}', ["meta"], {"caption": "a dog"}),
        (b'{"meta": ["a dog"]}', ["meta", "caption"], None),
        (b'{"caption": "a dog"}', ["other"], None),
        (b'["a dog"]', ["caption"], None),
        (b'{"caption": ', ["caption"], None),
        (b"[" * 100_000, ["caption"], None),
        (b"\xff", ["caption"], None),
        (b"", ["caption"], None),
        (None, ["caption"], None),
    ],
)
def test_a_value_is_found_where_the_keys_lead(metadata: bytes | str | None, path: list[str], value: object) -> None:
    assert value_at(metadata, path) == value


def test_texts_are_one_or_many_and_nothing_else() -> None:
    assert texts_at(b'{"a": [" dog ", 7, "dog", ""]}', ["a"]) == ("dog", "7")
    assert texts_at(b'{"a": 7}', ["a"]) == ("7",)
    for other in (b'{"a": true}', b'{"a": {}}', b'{"a": null}', b'{"a": " "}', b"{}"):
        assert texts_at(other, ["a"]) is None
