"""Sizes from the headers of picture files, read without decoding: a small file can claim gigabytes of pixels.

Each reader takes the whole file and returns (width, height), or raises ValueError with what is wrong, as the end of a
sentence that begins with the file's name. IndexError and struct.error of a header that was cut short pass through.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

Size = tuple[int, int]

JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # markers that give the size: SOF0 .. SOF15
JPEG_WITHOUT_LENGTH = frozenset([0x01, *range(0xD0, 0xD8)])  # TEM, RST0 .. RST7
JPEG_CODE = re.compile(rb"[^\xff]")  # of a marker, behind one or more FF
SOS, EOI = 0xDA, 0xD9
PNG_PLAIN = frozenset([b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"eXIf", b"IEND"])
TIFF_WIDTH, TIFF_HEIGHT = 256, 257
TIFF_TYPES = {3: "H", 4: "I", 16: "Q"}  # of whole numbers: SHORT, LONG, LONG8
MOST_PARTS = 1 << 16  # segments, chunks or tags of a header: a file of 64 MB could hold 32 million, which take a minute
PNM_FIELD = rb"(?:\s|#[^\n]*\n)+"
PNM = re.compile(rb"P[1-6]" + PNM_FIELD + rb"(\d{1,9})" + PNM_FIELD + rb"(\d{1,9})\s")
PNM_LARGEST = re.compile(rb"P[56](?:" + PNM_FIELD + rb"\d{1,9}){2}" + PNM_FIELD + rb"(\d{1,9})\s")
PNM_WHITE = (255, 65535)  # the only largest values that OpenCV reads without scaling


def jpeg_markers(file: bytes) -> Iterator[tuple[int, int]]:
    """The markers of a JPEG and where their segments' lengths stand, up to the first scan or the end; as libjpeg finds them.

    Bytes between two segments that are no marker are skipped. Skipping by another rule than libjpeg's could find another size.
    """
    place = 2
    for _ in range(MOST_PARTS):
        place = file.find(b"\xff", place)
        code = JPEG_CODE.search(file, place) if place >= 0 else None
        if code is None:
            return
        marker, place = file[code.start()], code.end()
        if marker == 0 or marker in JPEG_WITHOUT_LENGTH:
            continue
        yield marker, place
        if marker in (SOS, EOI):
            return
        place += int.from_bytes(file[place : place + 2], "big")
    raise ValueError(f"is a JPEG with more than {MOST_PARTS} segments before its picture")


def jpeg_size(file: bytes) -> Size:
    size = None
    for marker, place in jpeg_markers(file):
        if marker in JPEG_FRAMES and size is None:
            height, width = struct.unpack_from(">HH", file, place + 3)
            size = width, height
        if marker == SOS:
            if file.find(b"\xff\xd9", place) < 0:  # OpenCV would fill the rest with grey
                break
            if size is None:
                raise ValueError("is a JPEG whose header gives no size")
            return size
    raise ValueError("is a JPEG that was cut short: it has no end marker")


def png_chunks(file: bytes) -> Iterator[tuple[bytes, int, int]]:
    """The chunks of a PNG up to its IEND: kind, and where the chunk begins and ends.

    All lengths are checked: a decoder allocates what a chunk claims before it reads the chunk. OpenCV 4.11 also reads behind
    IEND where there was no IDAT.
    """
    place, kinds = 8, set[bytes]()
    for _ in range(MOST_PARTS):
        if place + 12 > len(file):
            raise ValueError("is a PNG that was cut short: a chunk is longer than the file, or the last one is missing")
        length, kind = struct.unpack_from(">I4s", file, place)
        if (kind == b"IHDR") == bool(kinds) or (kind == b"IHDR" and length != 13):
            raise ValueError("is a PNG without a header, or with two")
        start, place = place, place + 12 + length
        kinds.add(kind)
        if place <= len(file):
            yield kind, start, place
        if kind == b"IEND" and place <= len(file):
            if b"IDAT" not in kinds:
                raise ValueError("is a PNG without a picture")
            return
    raise ValueError(f"is a PNG of more than {MOST_PARTS} chunks")


def png_size(file: bytes) -> Size:
    starts = [start for kind, start, _ in png_chunks(file) if kind == b"IHDR"]
    width, height = struct.unpack_from(">II", file, starts[0] + 8)
    return width, height


def plain_png(file: bytes) -> bytes:
    """The PNG reduced to one still picture, its colours and its orientation.

    OpenCV 4.11 crashes on animations that are damaged, and takes gigabytes for compressed texts and profiles that expand to
    them.
    """
    return file[:8] + b"".join(file[start:end] for kind, start, end in png_chunks(file) if kind in PNG_PLAIN)


def bmp_size(file: bytes) -> Size:
    (header,) = struct.unpack_from("<I", file, 14)
    width, height = struct.unpack_from("<HH" if header == 12 else "<ii", file, 18)
    return abs(width), abs(height)  # a negative height means that rows come from the top


def gif_size(file: bytes) -> Size:
    width, height = struct.unpack_from("<HH", file, 6)
    return width, height


def webp_size(file: bytes) -> Size:
    kind = file[12:16]
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", file, 26)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", file, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X":
        width, height = (int.from_bytes(file[place : place + 3], "little") for place in (24, 27))
        return width + 1, height + 1
    raise ValueError("is a WebP file without a picture")


def tiff_size(file: bytes) -> Size:
    """Of the first picture, which is the one that is decoded."""
    order = "<" if file[:2] == b"II" else ">"
    if struct.unpack_from(order + "H", file, 2)[0] == 43:  # BigTIFF
        (start,) = struct.unpack_from(order + "Q", file, 8)
        (count,) = struct.unpack_from(order + "Q", file, start)
        start, entry, value = start + 8, 20, 12
    else:
        (start,) = struct.unpack_from(order + "I", file, 4)
        (count,) = struct.unpack_from(order + "H", file, start)
        start, entry, value = start + 2, 12, 8
    found: dict[int, int] = {}
    if count > MOST_PARTS:
        raise ValueError(f"is a TIFF with more than {MOST_PARTS} tags")
    for place in range(start, min(start + count * entry, len(file) - entry + 1), entry):
        tag, kind = struct.unpack_from(order + "HH", file, place)
        if tag in (TIFF_WIDTH, TIFF_HEIGHT) and kind in TIFF_TYPES:
            # Where a tag occurs twice, the larger value counts: readers differ in which one they take.
            found[tag] = max(found.get(tag, 0), struct.unpack_from(order + TIFF_TYPES[kind], file, place + value)[0])
    if len(found) < 2:
        raise ValueError("is a TIFF whose header gives no size")
    return found[TIFF_WIDTH], found[TIFF_HEIGHT]


def pnm_size(file: bytes) -> Size:
    header = PNM.match(file, 0, MOST_PARTS)  # comments may be of any length
    if header is None:
        raise ValueError("is a PNM file whose header gives no size")
    largest = PNM_LARGEST.match(file, 0, MOST_PARTS)
    if largest is not None and int(largest[1]) not in PNM_WHITE:
        raise ValueError(
            f"is a PNM file whose white is {int(largest[1])}; expected {' or '.join(map(str, PNM_WHITE))}. Convert it, for"
            f" example to PNG: ffmpeg -i FILE FILE.png"
        )
    return int(header[1]), int(header[2])


def avif_size(file: bytes) -> Size:
    """The largest of the sizes that the file gives: of the picture, its tiles and its thumbnail."""
    place = 0
    for _ in range(MOST_PARTS):
        if place + 8 > len(file):
            break
        length, kind = struct.unpack_from(">I4s", file, place)
        if kind == b"meta":
            meta = file[place : place + length]
            if meta.count(b"ispe") > MOST_PARTS:
                raise ValueError(f"is an AVIF picture with more than {MOST_PARTS} sizes")
            sizes = [struct.unpack_from(">II", file, place + found.end() + 4) for found in re.finditer(b"ispe", meta)]
            if sizes:
                return max(sizes, key=lambda size: size[0] * size[1])
        if length < 8:  # 1: a length of 64 bits, which no meta box needs; 0: up to the end of the file
            break
        place += length
    raise ValueError("is an AVIF picture whose header gives no size")
