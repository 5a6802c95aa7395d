"""Scores of images and of image-text pairs: the methods by the names that a config gives them."""

from __future__ import annotations

from curator.annotators import Annotator
from curator.scores.caption_stats import CaptionStats
from curator.scores.catlip import CatLip
from curator.scores.clip_score import ClipScore
from curator.scores.head import ScoreHead
from curator.scores.image_stats import ImageShape, ImageStats
from curator.scores.metaclip import MetaClip
from curator.scores.misalignment import Misalignment

METHODS: dict[str, type[Annotator]] = {
    "caption_stats": CaptionStats,
    "catlip": CatLip,
    "clip_score": ClipScore,
    "head": ScoreHead,
    "image_shape": ImageShape,
    "image_stats": ImageStats,
    "metaclip": MetaClip,
    "misalignment": Misalignment,
}
