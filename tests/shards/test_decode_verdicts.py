from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile, ImageOps, PngImagePlugin

from curator.data import Preprocess
from curator.errors import SampleError
from curator.shards.decode import Decoder
from tests.builders import encode, make_image, make_jpeg, make_png, make_webp

PREPROCESS = Preprocess((32, 32), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), resize_mode="squash")
decode = Decoder(PREPROCESS)


def reason(data: bytes, decoder: Decoder = decode) -> str:
    with pytest.raises(SampleError) as caught:
        decoder(data)
    assert caught.value.message
    return caught.value.reason


def flat(mode: str, color: Any, format: str, size: tuple[int, int] = (40, 40), **options: Any) -> np.ndarray:
    """The one colour that an image of one colour decodes to."""
    pixels = decode(encode(Image.new(mode, size, color), format, **options)).pixels
    assert (pixels == pixels[:, :1, :1]).all()
    return pixels[:, 0, 0]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "empty_image"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "html_instead_of_image"),
        (b"\n\n <HTML lang=en>", "html_instead_of_image"),
        (b"\xef\xbb\xbf<?xml version='1.0'?><!DOCTYPE html PUBLIC><html>", "html_instead_of_image"),
        (b'{"error": "not found"}', "json_instead_of_image"),
        (b'[{"a": 1}]', "json_instead_of_image"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "not_an_image"),
        (b"plain text", "not_an_image"),
        (bytes(1000), "not_an_image"),
        (b"\x80\x04\x95malicious pickle", "not_an_image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unsupported_format"),
        (b"\0\0\0 ftypavif\0\0\0\0", "unsupported_format"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "unsupported_format"),
        (b"8BPS\0\1", "unsupported_format"),
        (b"P6\n1 1\n255\nabc", "unsupported_format"),
        (b"\xff\xd8\xff\xe0" + bytes(100) + b"\xff\xd9", "decode_error"),
        (b"BM" + bytes(10), "truncated_image"),
        (b"II*\0" + bytes(4), "decode_error"),
        (b"GIF89a", "truncated_image"),
        (b"\x89PNG\r\n\x1a\n", "truncated_image"),
    ],
)
def test_what_is_no_image_is_named(data: bytes, expected: str) -> None:
    assert reason(data) == expected


@pytest.mark.parametrize("make", [make_jpeg, make_png, make_webp])
@pytest.mark.parametrize("mode", ["exact", "close", "fast"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95])
def test_a_cut_image_is_truncated_in_every_mode(make: Any, mode: Any, share: float) -> None:
    data = make(400, 300)
    assert reason(data[: int(len(data) * share)], Decoder(PREPROCESS, mode=mode)) == "truncated_image"


@pytest.mark.parametrize("format", ["GIF", "BMP", "TIFF"])
def test_cuts_of_the_other_formats_are_rejects(format: str) -> None:
    data = encode(make_image(100, 80), format)
    for share in (0.05, 0.5, 0.9):
        assert reason(data[: int(len(data) * share)]) in ("truncated_image", "decode_error")


def test_transparency_is_laid_on_the_background() -> None:
    assert flat("RGBA", (255, 0, 0, 0), "PNG").tolist() == [255, 255, 255]
    assert flat("RGBA", (255, 0, 0, 128), "PNG").tolist() == [255, 127, 127]
    assert flat("RGBA", (255, 0, 0, 255), "PNG").tolist() == [255, 0, 0]
    assert flat("LA", (0, 0), "PNG").tolist() == [255, 255, 255]
    assert flat("RGB", (1, 2, 3), "PNG", transparency=(1, 2, 3)).tolist() == [255, 255, 255]
    assert flat("L", 7, "PNG", transparency=7).tolist() == [255, 255, 255]
    assert flat("RGBA", (255, 0, 0, 0), "WEBP", lossless=True, exact=True).tolist() == [255, 255, 255]
    palette = Image.new("P", (40, 40), 1)
    palette.putpalette([0, 0, 0, 9, 9, 9])
    for format in ("PNG", "GIF"):
        assert (decode(encode(palette, format, transparency=1)).pixels == 255).all()
        assert (decode(encode(palette, format)).pixels == 9).all()
    black = Decoder(PREPROCESS, background=(0, 0, 0))
    assert (black(encode(Image.new("RGBA", (40, 40), (9, 9, 9, 0)), "PNG")).pixels == 0).all()


def test_other_modes_become_rgb() -> None:
    assert flat("L", 77, "PNG").tolist() == [77, 77, 77]
    assert flat("1", 1, "PNG").tolist() == [255, 255, 255]
    assert flat("1", 0, "TIFF").tolist() == [0, 0, 0]
    assert flat("I;16", 65535, "PNG").tolist() == [255, 255, 255]
    assert flat("I;16", 32768, "PNG").tolist() == [128, 128, 128]
    assert flat("I;16", 300, "TIFF").tolist() == [1, 1, 1]
    assert flat("CMYK", (0, 0, 0, 0), "TIFF").tolist() == [255, 255, 255]
    assert flat("CMYK", (255, 0, 0, 0), "TIFF").tolist() == [0, 255, 255]
    np.testing.assert_allclose(flat("CMYK", (0, 255, 255, 0), "JPEG"), [255, 0, 0], atol=3)
    np.testing.assert_allclose(flat("YCbCr", (76, 85, 255), "JPEG"), [254, 0, 0], atol=3)
    assert reason(encode(Image.new("F", (9, 9), 0.5), "TIFF")) == "unsupported_format"
    assert reason(encode(Image.new("I", (9, 9), 70000), "TIFF")) == "unsupported_format"


@pytest.mark.parametrize("mode", ["exact", "close", "fast"])
def test_adobe_cmyk_is_not_a_negative(mode: Any) -> None:
    data = encode(Image.new("CMYK", (400, 400), (0, 255, 255, 0)), "JPEG")
    assert b"Adobe" in data
    pixels = Decoder(PREPROCESS, mode=mode)(data).pixels
    np.testing.assert_allclose(pixels[:, 16, 16], [255, 0, 0], atol=3)


@pytest.mark.parametrize(("format", "options"), [("GIF", {}), ("WEBP", {"lossless": True}), ("PNG", {})])
def test_the_first_frame_of_an_animation(format: str, options: dict[str, Any]) -> None:
    frames = [Image.new("RGB", (40, 40), color) for color in [(255, 0, 0), (0, 255, 0), (0, 0, 255)]]
    data = encode(frames[0], format, save_all=True, append_images=frames[1:], **options)
    assert Image.open(io.BytesIO(data)).n_frames == 3
    assert decode(data).pixels[:, 0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
@pytest.mark.parametrize("mode", ["exact", "close", "fast"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_only_where_asked(mode: Any, format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(make_image(200, 100, seed=3), format, exif=exif.tobytes())
    stored = Image.open(io.BytesIO(data))
    as_seen = encode(ImageOps.exif_transpose(stored), "PNG")
    as_stored = encode(stored.copy(), "PNG", exif=b"")
    plain = Decoder(PREPROCESS, mode="close" if mode == "fast" and orientation > 1 else mode)
    seen = Decoder(PREPROCESS, mode=mode, exif_orientation=True)(data)
    assert (seen.width, seen.height) == (200, 100)
    if mode == "fast" and format == "JPEG":  # not equal to a PNG's, which has no scaled decode
        assert np.abs(seen.pixels.astype(int) - plain(as_seen).pixels).mean() < 1
        return
    np.testing.assert_array_equal(seen.pixels, plain(as_seen).pixels)
    np.testing.assert_array_equal(Decoder(PREPROCESS, mode=mode)(data).pixels, plain(as_stored).pixels)


def png_header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))


@pytest.mark.parametrize(
    "data",
    [
        png_header(20_000, 20_000),
        encode(Image.new("1", (10_000, 9_000)), "PNG"),
        make_webp()[:12] + b"VP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + b"\xfe\x3f\0" * 2 + bytes(20),
        b"GIF89a" + struct.pack("<HH", 60_000, 60_000) + b"\0\0\0;",
        b"BM" + struct.pack("<IHHIIiiHHIIiiII", 100, 0, 0, 54, 40, 40_000, 40_000, 1, 24, 0, 0, 0, 0, 0, 0) + bytes(50),
    ],
)
def test_too_many_pixels_are_refused_by_the_header(data: bytes) -> None:
    tracemalloc.start()
    assert reason(data) == "too_many_pixels"
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 << 20


def test_the_limit_is_the_callers() -> None:
    assert reason(make_png(50, 41), Decoder(PREPROCESS, max_pixels=2049)) == "too_many_pixels"
    assert Decoder(PREPROCESS, max_pixels=2050)(make_png(50, 41)).width == 50


def test_huge_text_and_profile_chunks_are_bounded() -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("bomb", "x" * (80 << 20), zip=True)
    tracemalloc.start()
    assert reason(encode(make_image(20, 20), "PNG", pnginfo=text)) == "decode_error"
    assert reason(encode(make_image(20, 20), "PNG", icc_profile=bytes(80 << 20))) == "decode_error"
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 700 << 20


def test_pillows_global_state_is_left_alone() -> None:
    limits = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
    decode(make_jpeg())
    reason(make_jpeg()[:400])
    assert limits == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


def test_a_bug_in_a_decoder_is_a_reject(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("surprise")

    monkeypatch.setattr(ImageFile.ImageFile, "load", broken)
    with pytest.raises(SampleError, match=r"decode_error.*ZeroDivisionError: surprise"):
        decode(make_png())
