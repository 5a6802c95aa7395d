"""Where a checkpoint's transform resizes, crops and pads: sizes only. Knows no pixels and no decoder."""

from __future__ import annotations

from typing import Literal, NamedTuple

from curator.data import Preprocess


class Axis(NamedTuple):
    """One axis: ``source`` pixels are resized to ``resized``, of which ``kept`` from ``start`` on are used.

    The kept pixels stand at ``place`` on a target of ``target`` pixels; the rest of the target is fill.
    """

    source: int
    resized: int
    start: int
    kept: int
    place: int
    target: int


class Geometry(NamedTuple):
    """The transform of one image size. ``fill`` is the value of padded pixels."""

    x: Axis
    y: Axis
    filter: Literal["bicubic", "bilinear"]
    fill: int


def plan(width: int, height: int, preprocess: Preprocess) -> Geometry:
    """The resize, crop and padding of open_clip's ``image_transform(is_train=False)`` for an image of this size.

    A dimension of ``resized`` is 0 where the aspect ratio is so extreme that the reference has no answer.
    """
    target_height, target_width = preprocess.size
    filter, fill = preprocess.interpolation, 0
    if preprocess.resize_mode == "squash":
        resized = preprocess.size
    elif preprocess.resize_mode == "longest":
        ratio = max(height / target_height, width / target_width)
        resized, fill = (round(height / ratio), round(width / ratio)), preprocess.fill_color
    elif target_height == target_width:
        short, long = min(width, height), max(width, height)
        long = int(target_width * long / short)
        resized = (long, target_width) if height > width else (target_width, long)
    else:
        # for targets that are not square the reference resizes by ResizeKeepRatio's default, whatever is configured
        ratio = min(height / target_height, width / target_width)
        resized, filter = (round(height / ratio), round(width / ratio)), "bicubic"
    return Geometry(_axis(width, resized[1], target_width), _axis(height, resized[0], target_height), filter, fill)


def _axis(source: int, resized: int, target: int) -> Axis:
    if resized >= target:
        return Axis(source, resized, round((resized - target) / 2.0), target, 0, target)
    return Axis(source, resized, 0, resized, (target - resized) // 2, target)
