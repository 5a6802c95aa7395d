"""Image bytes to an opened Pillow image of known size, or the reason why not. Decodes no pixel and resizes nothing.

The format is told by the content, never by the name. The plugin is called directly, so that no other parser of
Pillow's ever sees the bytes, and Pillow's process-wide pixel limit and its warning play no part.
"""

from __future__ import annotations

import io
import re
from typing import Final, Literal, TypeAlias

from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from curator.errors import SampleError

Format: TypeAlias = Literal["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"]

_PLUGINS: Final[dict[Format, type[ImageFile]]] = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "WEBP": WebPImageFile,
    "GIF": GifImageFile,
    "BMP": BmpImageFile,
    "TIFF": TiffImageFile,
}
_MAGIC: Final[tuple[tuple[bytes, Format], ...]] = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
)
_UNSUPPORTED: Final = (
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"8BPS", "Photoshop"),
    (b"\0\0\1\0", "ICO"),
    (b"%!PS", "PostScript"),
    (b"%PDF", "PDF"),
    (b"DDS ", "DDS"),
    (b"SIMPLE  =", "FITS"),
    (b"v/1\1", "OpenEXR"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"qoif", "QOI"),
    (b"BPG\xfb", "BPG"),
)
_NETPBM: Final = re.compile(rb"P[1-7]\s")
_BRANDS: Final = {b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIF", b"msf1": "HEIF"}
_HTML: Final = re.compile(rb"<(!doctype\s+html|html|head|body|meta|script|title)\b", re.IGNORECASE)
_SVG: Final = re.compile(rb"<svg\b", re.IGNORECASE)
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


def format_of(data: bytes) -> Format:
    """The format of an image file by its first bytes.

    SampleError: empty_image, html_instead_of_image, json_instead_of_image, unsupported_format or not_an_image.
    """
    if not data:
        raise SampleError("empty_image", "the member has no bytes")
    for magic, format in _MAGIC:
        if data.startswith(magic):
            return format
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    for prefix, name in _UNSUPPORTED:
        if data.startswith(prefix):
            raise _unsupported(name)
    if data[4:8] == b"ftyp" and data[8:12] in _BRANDS:
        raise _unsupported(_BRANDS[data[8:12]])
    if _NETPBM.match(data):
        raise _unsupported("netpbm")
    raise _text(data)


def open_image(data: bytes, format: Format, max_pixels: int) -> ImageFile:
    """The image with its header read; SampleError ``too_many_pixels`` before anything of that size is allocated."""
    if size := _stated_size(data, format):
        check_size(size, max_pixels)  # some plugins allocate the canvas as soon as they open
    image = _PLUGINS[format](io.BytesIO(data))
    check_size(image.size, max_pixels)
    return image


def check_size(size: tuple[int, int], max_pixels: int) -> None:
    """SampleError ``too_many_pixels`` unless ``size`` (width, height) is within the limit."""
    width, height = size
    if width * height > max_pixels:
        raise SampleError("too_many_pixels", f"{width} x {height} are {width * height} pixels, more than {max_pixels}")


def is_cut(data: bytes, format: Format) -> bool:
    """Whether the file ends before its format says that it should. Asked only of images that failed to decode."""
    tail = data[-64:]
    if format == "JPEG":
        return b"\xff\xd9" not in tail
    if format == "PNG":
        return b"IEND" not in tail
    if format == "GIF":
        return b"\x3b" not in tail
    if format == "WEBP":
        return len(data) < 12 or int.from_bytes(data[4:8], "little") + 8 > len(data)
    if format == "BMP":
        return len(data) < 26 or int.from_bytes(data[2:6], "little") > len(data)
    return False


def _stated_size(data: bytes, format: Format) -> tuple[int, int] | None:
    chunk = data[12:16]
    if format == "PNG" and chunk == b"IHDR":
        return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    if format == "GIF":
        return int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little")
    if format == "WEBP" and chunk == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if format == "WEBP" and chunk == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if format == "WEBP" and chunk == b"VP8 ":
        return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF
    return None


def _text(data: bytes) -> SampleError:
    head = data[:4096].removeprefix(_BYTE_ORDER_MARK).lstrip()
    start = repr(head[:40].decode("ascii", "backslashreplace"))
    if _HTML.match(head) or (head[:2] in (b"<?", b"<!") and _HTML.search(head)):
        return SampleError("html_instead_of_image", f"the member is a web page: {start}")
    if head[:1] == b"<" and _SVG.search(head):
        return _unsupported("SVG")
    if head[:1] in (b"{", b"[") and head.rstrip(b"\0")[-1:].isascii() and b"\0" not in head:
        return SampleError("json_instead_of_image", f"the member is JSON: {start}")
    return SampleError("not_an_image", f"the member begins with {start}, which no image format does")


def _unsupported(name: str) -> SampleError:
    return SampleError("unsupported_format", f"{name} is not decoded; convert it to jpg, png, webp, gif, bmp or tiff")
