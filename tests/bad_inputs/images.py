"""Photographs that are broken, huge, of another kind, or no photographs at all."""

import io
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from tests.bad_inputs.cases import Case, Command, Place

_COLOURS = np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)


def cases() -> Iterator[Case]:
    """A folder of sound photographs with one bad one among them."""
    for name, (content, told) in _broken().items():
        yield Case(f"images/{name}", _beside("zz.png", content), refused=told)
    for name, content in _unusual().items():
        yield Case(f"images/{name}", _beside("zz.png", content), writes=("r",))
    yield Case("images/six unusual kinds", _with(_six_kinds), writes=("r",))
    for name, (make, told) in _no_files().items():
        yield Case(f"images/{name}", _with(make), refused=told)


def train(place: Place, concept: object, *more: object) -> Command:
    """A training of one step on the small model."""
    flags = ("--steps", 1, "--stop", "none", "--eval-batch", 2, "--train-batch-size", 1)
    begin = ("train", "--model", place.model, "--concept", concept, "--class", "dog")
    return [*begin, *flags, "--out", place.folder / "r", *more]


def encoded(picture: Image.Image, kind: str = "PNG", **more: Any) -> bytes:
    """The bytes of a picture."""
    file = io.BytesIO()
    picture.save(file, kind, **more)
    return file.getvalue()


def _beside(name: str, content: bytes) -> Callable[[Place], Command]:
    return _with(lambda folder: (folder / name).write_bytes(content))


def _with(make: Callable[[Path], object]) -> Callable[[Place], Command]:
    def command(place: Place) -> Command:
        folder = place.copied("photographs")
        make(folder)
        return train(place, folder)

    return command


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + checksum


def _png(width: int, height: int, *chunks: bytes) -> bytes:
    """A PNG of eight bits and three colours with these chunks, whether they make sense or not."""
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + _chunk(b"IEND", b"")


def _broken() -> dict[str, tuple[bytes, str]]:
    picture = Image.fromarray(_COLOURS)
    png, jpeg, gif = (encoded(picture, kind) for kind in ("PNG", "JPEG", "GIF"))
    webp, tiff, bmp = (encoded(picture, kind) for kind in ("WEBP", "TIFF", "BMP"))
    unreadable = "cannot be read"
    wide = Image.new("1", (7000, 7000))
    squeezed = zlib.compress(bytes(200 << 20), 1)
    return {
        "an empty file": (b"", "not an image"),
        "one byte": (b"\x89", "not an image"),
        "text": (b"hello\n", "not an image"),
        "a page of HTML": (b"<!doctype html><title>404</title>", "not an image"),
        "an SVG": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "not an image"),
        "a PDF": (b"%PDF-1.7\n%%EOF\n", "not an image"),
        "an EPS, which Ghostscript would run": (
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 40\n%%EndComments\n"
            b"(/tmp/owned) (w) file closefile\nshowpage\n%%EOF\n",
            "not an image",
        ),
        "a PPM": (b"P6 2 2 255\n" + bytes(12), "not an image"),
        "an icon": (encoded(picture, "ICO"), "not an image"),
        "a JPEG 2000 by its first bytes": (b"\0\0\0\x0cjP  \r\n\x87\n", "not an image"),
        "a PNG cut in its header": (png[:20], "zz.png"),
        "a PNG cut in its pixels": (png[: len(png) // 2], unreadable),
        "a PNG with a wrong checksum": (png[:60] + b"\0\1\2\3" + png[64:], unreadable),
        "a PNG without pixels": (_png(8, 8), unreadable),
        "a PNG of no width": (_png(0, 8), "zz.png"),
        "a PNG that says 30000x30000": (_png(30000, 30000), unreadable),
        "a PNG that says 2147483647x2147483647": (_png(2**31 - 1, 2**31 - 1), unreadable),
        "a PNG of 49 megapixels": (encoded(wide), "million"),
        "a PNG with a text of 200 MB": (
            _png(8, 8, _chunk(b"zTXt", b"Comment\0\0" + squeezed)),
            unreadable,
        ),
        "a JPEG cut off": (jpeg[: len(jpeg) // 2], unreadable),
        "a JPEG of its marker alone": (jpeg[:4], "zz.png"),
        "a JPEG of zeros": (jpeg[:20] + bytes(2000), "zz.png"),
        "a GIF cut off": (gif[:30], "zz.png"),
        "a GIF without a picture": (gif[:13] + b";", "zz.png"),
        "a WebP cut off": (webp[:30], "zz.png"),
        "a TIFF cut off": (tiff[:200], "zz.png"),
        "a TIFF whose directory lies outside": (b"II*\0" + b"\xff\xff\xff\x7f", "zz.png"),
        "a TIFF whose directory is its own next": (
            b"II*\0\x08\0\0\0" + struct.pack("<H", 0) + struct.pack("<I", 8),
            "zz.png",
        ),
        "a BMP of a negative width": (bmp[:18] + struct.pack("<i", -5) + bmp[22:], "zz.png"),
        "a BMP that says it is huge": (bmp[:18] + struct.pack("<ii", 2**28, 2**3) + bmp[26:], ""),
    }


def _unusual() -> dict[str, bytes]:
    picture = Image.fromarray(_COLOURS)
    about = PngImagePlugin.PngInfo()
    about.add_text("Comment", "\x1b[31m<script>alert(1)</script>")
    wrong = Image.Exif()
    wrong[0x0112] = 77
    pixels = zlib.compress(bytes(200 << 20), 1)
    return {
        "an orientation that there is not": encoded(picture, "JPEG", exif=wrong),
        "EXIF of garbage": encoded(picture, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff"),
        "a colour profile of garbage": encoded(picture, icc_profile=b"\xff" * 999),
        "a comment with an escape": encoded(picture, pnginfo=about),
        "a JPEG of 49 megapixels": encoded(Image.new("RGB", (7000, 7000)), "JPEG"),
        "a PNG of 8x8 whose pixels are 200 MB": _png(8, 8, _chunk(b"IDAT", pixels)),
    }


def _six_kinds(folder: Path) -> None:
    picture = Image.fromarray(_COLOURS)
    kinds = {
        "animation.gif": encoded(
            picture, "GIF", save_all=True, append_images=[Image.new("L", (48, 40))]
        ),
        "16-bits.png": encoded(Image.fromarray(np.arange(1920, dtype=np.uint16).reshape(40, 48))),
        "palette.png": encoded(picture.convert("P"), transparency=0),
        "points.tiff": encoded(Image.new("F", (40, 40), 0.5), "TIFF"),
        "cmyk.jpg": encoded(picture.convert("CMYK"), "JPEG"),
        "line.png": encoded(Image.new("RGB", (4000, 1))),
    }
    for name, content in kinds.items():
        (folder / name).write_bytes(content)


def _no_files() -> dict[str, tuple[Callable[[Path], object], str]]:
    def sparse(folder: Path) -> None:
        with open(folder / "zz.png", "wb") as file:
            file.truncate(3 << 30)

    no_file = "it is "
    name = "zz\x1b[31m\x07\n.png"
    return {
        "a FIFO": (lambda folder: os.mkfifo(folder / "zz.png"), no_file),
        "a folder": (lambda folder: (folder / "zz.png").mkdir(), no_file),
        "a link to /dev/zero": (
            lambda folder: (folder / "zz.png").symlink_to("/dev/zero"),
            no_file,
        ),
        "a link to a folder": (lambda folder: (folder / "zz.png").symlink_to(folder), no_file),
        "a link to nothing": (lambda folder: (folder / "zz.png").symlink_to("gone"), "zz.png"),
        "a link to itself": (lambda folder: (folder / "zz.png").symlink_to("zz.png"), "zz.png"),
        "a file of 3 GB": (sparse, "larger than"),
        "a name with escapes": (
            lambda folder: (folder / name).write_bytes(b""),
            r"zz\x1b[31m\x07\n.png",
        ),
        "a name whose bytes are no text": (
            lambda folder: open(os.fsencode(folder) + b"/zz\xff.png", "wb").close(),
            r"zz\xff.png",
        ),
        "a name of 250 letters": (lambda folder: (folder / ("z" * 246 + ".png")).touch(), "zzz"),
        "a name that is markup": (lambda folder: (folder / "zz[red].png").touch(), "zz[red].png"),
    }
