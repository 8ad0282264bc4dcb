"""What the text headers of NRRD and MetaImage promise, held against the bytes that are there.

ITK fills a file that ends early with zeros or old memory, and takes memory for whatever size the header
claims. So the few fields that decide the amount of data are read here first; SimpleITK reads the image
only when the promise holds.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from napari_medmeta.core.errors import UnreadableFileError, UnsupportedImageError
from napari_medmeta.core.types import Triple
from napari_medmeta.io._stream import CHUNK_BYTES, open_plain, refuse_leftover, truncated
from napari_medmeta.io.limits import checked_shape

__all__ = ["Layout", "meta_layout", "nrrd_layout", "verify_payload"]

HEADER_LIMIT = 1 << 20
"""A text header beyond 1 MB is not one (Slicer's segment lists take some 10 kB)."""

META_LINE_LIMIT = 16_384
"""ITK's MetaImage parser keeps lines in a buffer of twice this size; no real header comes near."""

NRRD_TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}
"""Source: https://teem.sourceforge.net/nrrd/format.html#type"""

META_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
"""Source: https://itk.org/Wiki/ITK/MetaIO/Documentation; MET_LONG is left out, its size depends on the machine."""

META_SPACING = ("ElementSpacing", "ElementSize")
META_ORIGIN = ("Offset", "Position", "Origin")
META_MATRIX = ("TransformMatrix", "Rotation", "Orientation")


@dataclass(frozen=True, slots=True)
class Layout:
    """Where an image's voxels lie and how many bytes they must fill.

    ``sizes`` are the header's, in its order; ``shape`` is (k, j, i). ``packed_bytes`` is the size of the
    compressed voxels, where the header gives one. ``placed`` tells whether the header says how the scan
    lies in the patient.
    """

    sizes: tuple[int, ...]
    shape: Triple
    dtype: np.dtype[Any]
    data: Path
    offset: int
    compressed: bool
    placed: bool
    packed_bytes: int | None = None

    @property
    def payload_bytes(self) -> int:
        """Bytes of all voxels, uncompressed."""
        return math.prod(self.sizes) * self.dtype.itemsize


def nrrd_layout(path: Path) -> Layout:
    """Read the header of a NRRD file whose voxels are in the same file.

    Raises
    ------
    UnreadableFileError
        When it is no NRRD file, or its header is damaged.
    UnsupportedImageError
        When the image is not one 3D grey-value image, or lies in other files.
    """
    with open_plain(path) as handle:
        if not re.fullmatch(rb"NRRD000[1-5]\s*", handle.readline(16)):
            raise _not_image(path, "NRRD")
        fields = _nrrd_fields(handle, path=path)
        offset = handle.tell()
    if "data file" in fields or "datafile" in fields:
        raise UnsupportedImageError(
            f"{path.name} keeps its voxels in another file",
            expected="header and voxels in one file",
            next_step="Save it again as one .nrrd file",
        )
    encoding = fields.get("encoding", "")
    if encoding not in ("raw", "gzip", "gz"):
        raise UnsupportedImageError(
            f"{path.name} stores its voxels in the encoding {encoding[:20]!r}",
            expected="raw or gzip",
            next_step="Save it again as a compressed .nrrd file",
        )
    if any(fields.get(name, "0") != "0" for name in ("line skip", "lineskip", "byte skip", "byteskip")):
        raise UnsupportedImageError(f"{path.name} skips bytes before its voxels", next_step="Save it again")
    sizes = _nrrd_sizes(fields, path=path)
    dtype = _nrrd_type(fields, path=path)
    if "space directions" not in fields and "spacings" not in fields:
        raise _no_voxel_size(path)
    placed = all(key in fields for key in ("space", "space directions", "space origin"))
    return Layout(sizes, _reversed(checked_shape(sizes)), dtype, path, offset, encoding != "raw", placed)


def meta_layout(path: Path) -> Layout:
    """Read the header of a MetaImage file (.mha, or .mhd with a data file beside it).

    Raises
    ------
    UnreadableFileError
        When it is no MetaImage file, its header is damaged, or its data file is missing or elsewhere.
    UnsupportedImageError
        When the image is not one 3D grey-value image.
    """
    with open_plain(path) as handle:
        fields = _meta_fields(handle, path=path)
        offset = handle.tell()
    if fields.get("ObjectType", "Image") != "Image" or fields.get("BinaryData", "True") != "True":
        raise UnsupportedImageError(f"{path.name} is not an image of binary voxels", next_step="Save it again as .mha")
    if fields.get("HeaderSize", "0") != "0":
        raise UnsupportedImageError(f"{path.name} skips bytes before its voxels", next_step="Save it again as .mha")
    sizes = _meta_sizes(fields, path=path)
    dtype = _meta_type(fields, path=path)
    name = fields["ElementDataFile"]
    data = path if name.upper() == "LOCAL" else _beside(path, name)
    compressed = fields.get("CompressedData", "False") == "True"
    if not any(key in fields for key in META_SPACING):
        raise _no_voxel_size(path)
    placed = all(any(key in fields for key in keys) for keys in (META_MATRIX, META_ORIGIN))
    packed = _integers(fields["CompressedDataSize"], path=path)[0] if "CompressedDataSize" in fields else None
    start = offset if data == path else 0
    return Layout(sizes, _reversed(checked_shape(sizes)), dtype, data, start, compressed, placed, packed or None)


def verify_payload(layout: Layout) -> None:
    """Raise `UnreadableFileError` unless exactly as many bytes follow as the header promises."""
    with open_plain(layout.data) as handle:
        handle.seek(layout.offset)
        if layout.compressed:
            _verify_compressed(handle, layout)
            return
        if layout.data.stat().st_size - layout.offset < layout.payload_bytes:
            raise truncated(layout.data)
        handle.seek(layout.offset + layout.payload_bytes)
        refuse_leftover(handle, path=layout.data)


def _verify_compressed(handle: BinaryIO, layout: Layout) -> None:
    # 32 + MAX_WBITS: zlib (MetaImage) and gzip (NRRD) streams are both recognised, checksums compared.
    unpacker = zlib.decompressobj(32 + zlib.MAX_WBITS)
    count = packed = 0
    while not unpacker.eof and count <= layout.payload_bytes:
        chunk = handle.read(CHUNK_BYTES)
        packed += len(chunk)
        got = _unpacked(unpacker, chunk, path=layout.data)
        if not chunk and not got:  # even without input, output may still wait in the unpacker
            raise truncated(layout.data)
        count += len(got)
        while unpacker.unconsumed_tail and count <= layout.payload_bytes:
            count += len(_unpacked(unpacker, unpacker.unconsumed_tail, path=layout.data))
    if count != layout.payload_bytes:
        comparison = "more" if count > layout.payload_bytes else "fewer"
        raise UnreadableFileError(
            f"{layout.data.name} holds {comparison} voxels than its header says",
            expected="as many voxels as the size in the header",
            next_step="The file is damaged: export or download it again",
        )
    if layout.packed_bytes not in (None, packed, packed - len(unpacker.unused_data)):
        raise _damaged(layout.data, f"its voxels do not take {layout.packed_bytes} bytes")


def _unpacked(unpacker: Any, chunk: bytes, *, path: Path) -> bytes:
    try:
        return bytes(unpacker.decompress(chunk, CHUNK_BYTES))
    except zlib.error as error:
        raise truncated(path) from error


def _nrrd_fields(handle: BinaryIO, *, path: Path) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in _lines(handle, path=path, limit=HEADER_LIMIT):
        if not line:
            return fields
        if line.startswith("#") or ":=" in line:
            continue
        key, separator, value = line.partition(":")
        if not separator or key.strip().lower() in fields:
            raise _damaged(path, f"the line {line[:40]!r}")
        fields[key.strip().lower()] = value.strip().lower()
    raise _damaged(path, "it has no end")


def _nrrd_sizes(fields: Mapping[str, str], *, path: Path) -> tuple[int, ...]:
    dimension = _integers(fields.get("dimension", ""), path=path)
    sizes = _integers(fields.get("sizes", ""), path=path)
    if dimension != (len(sizes),):
        raise _damaged(path, "its number of axes and its sizes disagree")
    kinds = fields.get("kinds", "").split()
    if len(sizes) == 4 and (sizes[-1] > 1 or (kinds and kinds[0] not in ("domain", "space", "none", "???"))):
        _refuse_components(kinds[0] if kinds else "", sizes)
    return sizes


def _refuse_components(kind: str, sizes: tuple[int, ...]) -> None:
    if "color" in kind or "rgb" in kind:
        raise _colour()
    if kind == "list":
        raise UnsupportedImageError(
            f"The file holds {sizes[0]} volumes side by side (a sequence, or overlapping segments)",
            expected="one 3D volume",
            next_step="Export one of them as a file of its own",
        )


def _nrrd_type(fields: Mapping[str, str], *, path: Path) -> np.dtype[Any]:
    wanted = fields.get("type", "")
    code = next((code for code, names in NRRD_TYPES.items() if wanted in names), None)
    if code is None:
        raise _damaged(path, f"it names the unknown voxel type {wanted[:20]!r}")
    endian = fields.get("endian")
    if code[1] != "1" and endian not in ("little", "big"):
        raise _damaged(path, "it does not say the byte order")
    return np.dtype(code)


def _meta_fields(handle: BinaryIO, *, path: Path) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in _lines(handle, path=path, limit=META_LINE_LIMIT):
        key, separator, value = (part.strip() for part in line.partition("="))
        # ITK also ends a key at a colon; a key that holds one would be read as two different things.
        if not separator or ":" in key or not key.isprintable() or key in fields:
            raise _not_image(path, "MetaImage")
        fields[key] = value
        if key == "ElementDataFile":
            return fields
    raise _damaged(path, "it has no end")


def _meta_sizes(fields: Mapping[str, str], *, path: Path) -> tuple[int, ...]:
    count = _integers(fields.get("NDims", ""), path=path)
    sizes = _integers(fields.get("DimSize", ""), path=path)
    if count != (len(sizes),):
        raise _damaged(path, "its number of axes and its sizes disagree")
    for key in (*META_SPACING, *META_ORIGIN, "CenterOfRotation"):
        _numbers(fields, key, len(sizes), path=path)
    for key in META_MATRIX:
        _numbers(fields, key, len(sizes) ** 2, path=path)
    if fields.get("ElementNumberOfChannels", "1") != "1":
        raise _colour()
    return sizes


def _numbers(fields: Mapping[str, str], key: str, count: int, *, path: Path) -> None:
    if key not in fields:
        return
    try:
        values = [float(word) for word in fields[key].split()]
    except ValueError:
        values = []
    if len(values) != count or not all(math.isfinite(v) for v in values):
        raise _damaged(path, f"{key} is not {count} numbers")


def _meta_type(fields: Mapping[str, str], *, path: Path) -> np.dtype[Any]:
    name = fields.get("ElementType", "")
    if name.endswith("_ARRAY"):
        raise _colour()
    if name not in META_TYPES:
        raise _damaged(path, f"it names the unknown voxel type {name[:20]!r}")
    for key in ("BinaryDataByteOrderMSB", "ElementByteOrderMSB", "CompressedData", "BinaryData"):
        if fields.get(key, "False") not in ("True", "False"):
            raise _damaged(path, f"{key} is neither True nor False")
    return np.dtype(META_TYPES[name])


def _beside(path: Path, name: str) -> Path:
    """Return the data file ``name`` of the header ``path``; it must lie in the same folder."""
    folder = path.parent.resolve()
    plain = re.fullmatch(r"[^/\\%:\x00]+", name) is not None and name.split()[0] not in ("LIST", "..", ".")
    data = (folder / name).resolve() if plain else folder
    if not plain or data.parent != folder:
        raise UnreadableFileError(
            f"{path.name} names a data file outside its own folder, or several of them",
            expected="one data file beside the header",
            next_step="Save the scan as one .mha file",
        )
    if not data.is_file():
        raise UnreadableFileError(
            f"The data file {name} of {path.name} is missing", next_step="Put both files into the same folder"
        )
    return data


def _lines(handle: BinaryIO, *, path: Path, limit: int) -> Iterator[str]:
    total = 0
    while total < HEADER_LIMIT:
        line = handle.readline(limit + 1)
        total += len(line)
        if not line or len(line) > limit:
            return
        try:
            yield line.decode("utf-8").strip()
        except UnicodeDecodeError as error:
            raise _not_image(path, "text-headed") from error


def _integers(text: str, *, path: Path) -> tuple[int, ...]:
    words = text.split()
    if not words or not all(re.fullmatch(r"\d{1,9}", word) for word in words):
        raise _damaged(path, f"{text[:40]!r} are not sizes")
    return tuple(int(word) for word in words)


def _reversed(shape: Triple) -> Triple:
    i, j, k = shape
    return k, j, i


def _no_voxel_size(path: Path) -> UnreadableFileError:
    return UnreadableFileError(
        f"The header of {path.name} gives no voxel size", next_step="Export the scan again with its spacing"
    )


def _colour() -> UnsupportedImageError:
    return UnsupportedImageError(
        "This is a colour or vector image",
        expected="one grey value in each voxel",
        next_step="Export the scan itself, not a coloured picture of it",
    )


def _damaged(path: Path, what: str) -> UnreadableFileError:
    return UnreadableFileError(
        f"The header of {path.name} is damaged: {what}", next_step="Export or download the file again"
    )


def _not_image(path: Path, kind: str) -> UnreadableFileError:
    return UnreadableFileError(
        f"{path.name} is not a {kind} image, or its header is damaged", next_step="Export or download it again"
    )
