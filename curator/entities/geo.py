"""Owns region entities: where an image was taken, from its json, looked up in a user's map. Home of shapely.

Knows no caption, and nothing of the image itself. Source: SkyScript (Wang et al. 2023, arXiv 2312.12856), which tags
images by their coordinates without a model.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from curator.annotators import Annotator, AnnotatorSpec, Means
from curator.data import ColumnSpec, ColumnValues, Embeddings, EntityTag
from curator.entities.places import local_copy
from curator.errors import ConfigError
from curator.kernels.fields import value_at
from curator.options import named, package, text, unchanged
from curator.storage.base import Storage

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Regions:
    """N named areas; ``shapes`` are shapely's, in degrees (x longitude, y latitude)."""

    ids: Sequence[str]
    names: Sequence[str]
    shapes: Sequence[Any]


class GeoAnnotator(Annotator):
    """The regions of a map that hold the sample's coordinates, the smallest first; mention: the coordinates."""

    OPTIONS: ClassVar[frozenset[str]] = frozenset({"regions", "lat", "lon", "id", "region_name", "regions_digest"})

    @classmethod
    def read(cls, spec: AnnotatorSpec, storage: Storage) -> AnnotatorSpec:
        _shapely()
        url = named(spec, "regions", "a GeoJSON or GeoParquet file")
        path = local_copy(url, storage)
        _regions(spec, path)
        return replace(spec, options={**spec.options, "regions_digest": _digest(path)})

    @classmethod
    def columns_of(cls, spec: AnnotatorSpec) -> tuple[ColumnSpec, ...]:
        what = "Regions that hold the coordinates in the sample's json, the smallest first; score is 1"
        return (ColumnSpec(spec.name, "entities", what),)

    @classmethod
    def open(cls, spec: AnnotatorSpec, means: Means) -> GeoAnnotator:
        path = local_copy(str(spec.options["regions"]), means.storage, cache_dir=means.cache_dir)
        unchanged(spec, "regions", _digest(path))
        return cls(spec, means, _regions(spec, path))

    def __init__(self, spec: AnnotatorSpec, means: Means, regions: Regions) -> None:
        super().__init__(spec, means.encoder)
        shapely = _shapely()
        order = sorted(range(len(regions.ids)), key=lambda place: regions.shapes[place].area)
        self._ids = [regions.ids[place] for place in order]
        self._names = [regions.names[place] for place in order]
        self._tree = shapely.STRtree([regions.shapes[place] for place in order])
        self._point = shapely.Point
        self._lat = text(spec, "lat", "lat").split(".")
        self._lon = text(spec, "lon", "lon").split(".")
        self._warned = False

    def __call__(self, embeddings: Embeddings) -> dict[str, ColumnValues]:
        tags: list[list[EntityTag]] = [[] for _ in embeddings.metadata]
        rows, points, places = [], [], []
        for row, metadata in enumerate(embeddings.metadata):
            place = self._place(metadata)
            if place is not None:
                rows.append(row)
                places.append(f"{place[0]:g}, {place[1]:g}")
                points.append(self._point(place[1], place[0]))
        if not points and any(embeddings.metadata) and not self._warned:
            self._warned = True
            logger.warning(
                "geo %r: no sample of a batch has degrees at %s and %s of its json; see the options 'lat' and 'lon'",
                self.name, ".".join(self._lat), ".".join(self._lon),
            )  # fmt: skip
        if points:
            for number, region in sorted(self._tree.query(points, predicate="intersects").T.tolist()):
                tag = EntityTag(self._ids[region], self._names[region], places[number], "geo", 1.0)
                tags[rows[number]].append(tag)
        return {self.name: tags}

    def _place(self, metadata: bytes | None) -> tuple[float, float] | None:
        """Latitude and longitude in degrees; None where the json has none that are on the globe."""
        try:
            lat, lon = float(value_at(metadata, self._lat)), float(value_at(metadata, self._lon))
        except (ValueError, TypeError):
            return None
        if not (math.isfinite(lat) and math.isfinite(lon) and abs(lat) <= 90 and abs(lon) <= 180):
            return None
        return lat, lon


def _shapely() -> Any:
    return package("shapely", "geo", "method geo")


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _regions(spec: AnnotatorSpec, path: Path) -> Regions:
    """The areas of a GeoJSON feature collection or of a Parquet file whose column ``geometry`` is WKB (GeoParquet)."""
    key, name = text(spec, "id", "id"), text(spec, "region_name", "name")
    try:
        read = _parquet if path.suffix in (".parquet", ".geoparquet") else _geojson
        rows = read(path, key, name)
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no file of regions here; give a GeoJSON or GeoParquet file") from error
    except (ValueError, KeyError, TypeError, AttributeError, _shapely().errors.ShapelyError) as error:
        raise ConfigError(
            f"{path}: cannot be read as regions ({type(error).__name__}: {error}); each needs a geometry in degrees, "
            f"and the properties {key!r} and {name!r} (options 'id' and 'region_name')"
        ) from error
    if not rows:
        raise ConfigError(f"{path}: has no region")
    return Regions([row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows])


def _geojson(path: Path, key: str, name: str) -> list[tuple[str, str, Any]]:
    shape = _shapely().geometry.shape
    features = json.loads(path.read_bytes())["features"]
    rows = []
    for feature in features:
        known = {"id": feature.get("id"), **(feature.get("properties") or {})}
        if known[key] is None:
            raise KeyError(key)
        rows.append((str(known[key]), str(known[name]), shape(feature["geometry"])))
    return rows


def _parquet(path: Path, key: str, name: str) -> list[tuple[str, str, Any]]:
    import pyarrow.parquet as pq

    table = pq.read_table(path, columns=[key, name, "geometry"])
    ids, names, shapes = (table.column(column).to_pylist() for column in (key, name, "geometry"))
    load = _shapely().from_wkb
    return [(str(id_), str(name_), load(wkb)) for id_, name_, wkb in zip(ids, names, shapes, strict=True)]
