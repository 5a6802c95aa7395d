"""Entities that no caption names: nearest in a bank of texts, exemplars, and regions of a map; by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from curator.data import EntityTag
from curator.entities import METHODS
from curator.entities.building import SourceEntity
from curator.entities.exemplars import Exemplars, read_exemplars, write_exemplars
from curator.errors import ConfigError
from curator.kernels.entities import single_linkage
from curator.kernels.vectors import l2_normalize
from curator.storage import open_storage
from tests.entities.fakes import HashDevice, images_like, make, means_of, spec_of

ENCODER = HashDevice()
FOX, WOLF = ENCODER.vector("image of the fox Ada"), ENCODER.vector("image of the wolf Bo")


def tag(
    method: str, images: list[torch.Tensor], captions: list[str | None], cache: Path, **options: object
) -> list[list[EntityTag]]:
    spec = METHODS[method].read(spec_of(method, **options), open_storage())
    found = METHODS[method].open(spec, means_of(ENCODER, cache))(images_like(images, captions))
    return found["things"]  # type: ignore[return-value]


def test_nearest_entities_of_a_text_bank(tmp_path: Path) -> None:
    make(
        tmp_path / "g",
        SourceEntity("1", "fox", description="an animal"),
        SourceEntity("2", "wolf"),
        SourceEntity("3", "elm"),
    )
    fox = l2_normalize(ENCODER.vector("fox") + ENCODER.vector("fox, an animal"))
    images, options = [fox, ENCODER.vector("wolf")], {"gazetteer": str(tmp_path / "g"), "threshold": 0.95}
    found = tag("nearest", images, [None, "an elm"], tmp_path, **options)
    assert [[(one.entity_id, one.name, one.source) for one in tags] for tags in found] == [
        [("1", "fox", "nearest")],
        [("2", "wolf", "nearest")],
    ]
    everything = tag("nearest", images, [None, None], tmp_path, **{**options, "threshold": -1.0, "top_k": 2})
    assert [[len(tags), tags[0].score > tags[1].score] for tags in everything] == [[2, True], [2, True]]
    with pytest.raises(ConfigError, match="needs the option threshold"):
        tag("nearest", images, [None, None], tmp_path, gazetteer=str(tmp_path / "g"))


def exemplars(path: Path, pool: str, encoder: str = "fake") -> str:
    vectors = torch.stack([FOX, WOLF])
    if pool == "image+text":
        vectors = l2_normalize(vectors + torch.stack([ENCODER.vector("Ada"), ENCODER.vector("Bo")]))
    made = Exemplars(["a", "b"], ["Ada", "Bo"], np.array([3, 4]), vectors.numpy(), pool, encoder)  # type: ignore[arg-type]
    write_exemplars(path, made)
    assert read_exemplars(path).digest == made.digest
    return str(path)


def test_instances_of_a_registry(tmp_path: Path) -> None:
    found = tag(
        "registry", [FOX, WOLF, -FOX], [None] * 3, tmp_path, exemplars=exemplars(tmp_path / "r", "image"), threshold=0.9
    )
    assert [[(one.entity_id, one.name, one.mention, one.source) for one in tags] for tags in found] == [
        [("a", "Ada", "", "registry")],
        [("b", "Bo", "", "registry")],
        [],
    ]


def test_clippings_pool_image_and_caption(tmp_path: Path) -> None:
    path = exemplars(tmp_path / "r", "image+text")
    images, captions = [FOX, FOX, FOX], ["Ada", "Bo", None]
    near = tag("clippings", images, captions, tmp_path, exemplars=path, threshold=0.99)
    assert [[one.entity_id for one in tags] for tags in near] == [["a"], [], []]
    far = tag("clippings", images, captions, tmp_path, exemplars=path, threshold=-1.0, top_k=2)
    pooled = l2_normalize(FOX + ENCODER.vector("Bo"))
    ada = l2_normalize(FOX + ENCODER.vector("Ada"))
    assert {one.entity_id: one.score for one in far[1]}["a"] == pytest.approx(float(pooled @ ada), abs=1e-6)
    assert {one.entity_id: one.score for one in far[2]}["a"] == pytest.approx(float(FOX @ ada), abs=1e-6)


def test_exemplars_must_fit_the_method_and_the_encoder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="harvest again with --pool image"):
        tag("registry", [], [], tmp_path, exemplars=exemplars(tmp_path / "r", "image+text"), threshold=0.5)
    with pytest.raises(ConfigError, match="harvest them from a run of that encoder"):
        tag("registry", [], [], tmp_path, exemplars=exemplars(tmp_path / "r", "image", "other"), threshold=0.5)
    pq.write_table(pa.table({"x": [1]}), tmp_path / "x")
    for path, message in ((tmp_path / "x", "not a file of exemplars"), (tmp_path / "none", "no exemplars")):
        with pytest.raises(ConfigError, match=message):
            tag("registry", [], [], tmp_path, exemplars=str(path), threshold=0.5)


def test_single_linkage_is_chains_of_near_vectors() -> None:
    generator = torch.Generator().manual_seed(0)
    vectors = l2_normalize(torch.randn(60, 3, generator=generator))
    for cutoff in (0.5, 0.9, 0.99, 1.1):
        near = (vectors @ vectors.T >= cutoff) | torch.eye(60, dtype=torch.bool)
        reach = near
        for _ in range(6):  # paths of up to 64 steps
            reach = (reach.float() @ reach.float()) > 0
        numbers: dict[int, int] = {}
        expected = [numbers.setdefault(int(row.nonzero()[0]), len(numbers)) for row in reach]
        assert single_linkage(vectors, cutoff, chunk=7) == expected


def square(key: object, name: str, west: float, south: float, size: float) -> dict[str, object]:
    ring = [[west, south], [west + size, south], [west + size, south + size], [west, south + size], [west, south]]
    return {
        "type": "Feature",
        "properties": {"id": key, "name": name},
        "geometry": {"type": "Polygon", "coordinates": [ring]},
    }


PLACES: list[tuple[bytes | None, list[str]]] = [
    (b'{"lat": 5, "lon": 5}', ["town", "land"]),
    (b'{"lat": "50.5", "lon": 7}', ["land"]),
    (b'{"lat": -5, "lon": 5}', []),
    (b'{"lat": 1}', []),
    (b'{"lat": NaN, "lon": 5}', []),
    (b'{"lat": 500, "lon": 5}', []),
    (b"[1, 2", []),
    (b"null", []),
    (None, []),
]


@pytest.mark.parametrize("format", ["geojson", "parquet"])
def test_regions_of_coordinates(tmp_path: Path, format: str) -> None:
    shapely = pytest.importorskip("shapely")
    features = [square("L", "land", 0, 0, 60), square(7, "town", 4, 4, 2)]
    path = tmp_path / f"map.{format}"
    if format == "geojson":
        path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    else:
        shapes = [shapely.to_wkb(shapely.geometry.shape(feature["geometry"])) for feature in features]
        pq.write_table(pa.table({"id": ["L", "7"], "name": ["land", "town"], "geometry": shapes}), path)
    spec = METHODS["geo"].read(spec_of("geo", regions=str(path)), open_storage())
    batch = images_like([FOX] * len(PLACES), [None] * len(PLACES))
    batch = type(batch)(batch.vectors, batch.captions, [metadata for metadata, _ in PLACES])
    found = METHODS["geo"].open(spec, means_of(ENCODER))(batch)["things"]
    assert [[one.name for one in tags] for tags in found] == [names for _, names in PLACES]  # type: ignore[union-attr]
    assert found[0][0] == EntityTag("7", "town", "5, 5", "geo", 1.0)  # type: ignore[index]


def test_coordinates_may_lie_deeper(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("shapely")
    (tmp_path / "map.json").write_text(json.dumps({"features": [square("L", "land", 0, 0, 60)]}))
    options = {"regions": str(tmp_path / "map.json"), "lat": "exif.gps.lat", "lon": "exif.gps.lon"}
    spec = METHODS["geo"].read(spec_of("geo", **options), open_storage())
    batch = images_like([FOX], [None])
    batch = type(batch)(batch.vectors, batch.captions, [b'{"exif": {"gps": {"lat": 1, "lon": 2}}}'])
    assert [len(tags) for tags in METHODS["geo"].open(spec, means_of(ENCODER))(batch)["things"]] == [1]  # type: ignore[arg-type]
    assert not caplog.text
    spec = METHODS["geo"].read(spec_of("geo", regions=options["regions"]), open_storage())
    elsewhere = METHODS["geo"].open(spec, means_of(ENCODER))
    for _ in range(2):
        assert elsewhere(batch)["things"] == [[]]
    assert caplog.text.count("no sample of a batch has degrees at lat and lon") == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read as regions"),
        ('{"features": []}', "has no region"),
        (json.dumps({"features": [{**square(1, "x", 0, 0, 1), "properties": {"name": "x"}}]}), "'id' and 'name'"),
        (json.dumps({"features": [{**square(1, "x", 0, 0, 1), "geometry": None}]}), "cannot be read as regions"),
    ],
)
def test_a_map_that_is_none(tmp_path: Path, content: str, message: str) -> None:
    pytest.importorskip("shapely")
    (tmp_path / "map.json").write_text(content)
    with pytest.raises(ConfigError, match=message):
        METHODS["geo"].read(spec_of("geo", regions=str(tmp_path / "map.json")), open_storage())
    with pytest.raises(ConfigError, match="no file of regions here"):
        METHODS["geo"].read(spec_of("geo", regions=str(tmp_path / "none.json")), open_storage())
