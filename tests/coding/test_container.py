"""Damaged files: never a wrong pixel without an error."""

import json
import random
import struct
import zlib
from io import BytesIO

import pytest
import torch

from pixelrnn import InputError, PixelRNN

coding = pytest.importorskip("pixelrnn.coding", reason="the extra compress is not installed")


@pytest.fixture(scope="module")
def model() -> PixelRNN:
    torch.manual_seed(0)
    model = PixelRNN(levels=3, hidden=2, classes=["a", "b"], orders=2)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return model


@pytest.fixture(scope="module")
def images() -> list[torch.Tensor]:
    sizes = [(3, 4)] * 5 + [(2, 2)] * 3 + [(3, 4)]
    return [torch.randint(3, (1, *size), dtype=torch.uint8) for size in sizes]


@pytest.fixture(scope="module")
def data(model: PixelRNN, images: list[torch.Tensor]) -> bytes:
    file = BytesIO()
    coding.write(file, model, images, labels=[0, 1] * 4 + [0], names=[f"{n}.png" for n in range(9)])
    return file.getvalue()


def outcome(model: PixelRNN, data: bytes, images: list[torch.Tensor]) -> str:
    try:
        decoded = coding.decode(model, data)
    except InputError as error:
        return "refused" if "\n" not in str(error) else "several lines"
    assert len(decoded) == len(images)
    assert all(torch.equal(a, b) for a, b in zip(decoded, images, strict=True))
    return "equal"


def test_names_and_labels(model: PixelRNN, data: bytes) -> None:
    read = [*coding.read(BytesIO(data), model)]
    assert [each.name for each in read] == [f"{n}.png" for n in range(9)]
    assert [each.label for each in read] == [0, 1] * 4 + [0]


def test_every_flipped_bit_is_noticed_or_harmless(model: PixelRNN, images: list[torch.Tensor], data: bytes) -> None:
    outcomes = []
    for position in random.Random(0).sample(range(8 * len(data)), 400):
        damaged = bytearray(data)
        damaged[position // 8] ^= 1 << position % 8
        outcomes.append(outcome(model, bytes(damaged), images))
    assert outcomes.count("refused") > 300  # the others are bits after the last symbol of a chunk


def test_every_truncation_and_addition_is_noticed(model: PixelRNN, images: list[torch.Tensor], data: bytes) -> None:
    for end in [*range(0, len(data), 3), len(data) - 1]:
        assert outcome(model, data[:end], images) == "refused"
    for added in (data + b"\0", data + data, b"\0" + data, data[: len(data) // 2] + data, b""):
        assert outcome(model, added, images) == "refused"


def test_a_damaged_chunk_does_not_take_the_others_with_it(
    model: PixelRNN, images: list[torch.Tensor], data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    reader = coding.Reader(BytesIO(data))
    first, second, third = reader.index.chunks
    assert [chunk.images for chunk in reader.index.chunks] == [5, 3, 1]
    damaged = bytearray(data)
    damaged[reader.start + first.length + 3] ^= 255  # the first bits that the decoder reads
    with pytest.raises(InputError, match=r"it\.pxr: the chunk of the images 5 to 7 is damaged"):
        [*coding.read(BytesIO(bytes(damaged)), model, name="it.pxr")]
    kept = [*coding.read(BytesIO(bytes(damaged)), model, name="it.pxr", keep_going=True)]
    assert [each.name for each in kept] == ["0.png", "1.png", "2.png", "3.png", "4.png", "8.png"]
    assert all(torch.equal(each.image, images[int(each.name[0])]) for each in kept)
    assert "it.pxr: the chunk of the images 5 to 7 is damaged" in caplog.text


def rewritten(data: bytes, change: str, to: object) -> bytes:
    """The file with another value in its index, and with a checksum that fits."""
    length, _ = struct.unpack("<II", data[-12:-4])
    end = len(data) - 12 - length
    parts = json.loads(zlib.decompress(data[end : end + length]))
    if change == "names":
        parts["names"] = to
    else:
        parts["chunks"][0][["images", "height", "width", "length", "crc"].index(change)] = to
    index = zlib.compress(json.dumps(parts).encode())
    header = data[8 : 8 + struct.unpack("<I", data[4:8])[0]]
    return data[:end] + index + struct.pack("<II", len(index), zlib.crc32(index, zlib.crc32(header))) + data[-4:]


@pytest.mark.parametrize(
    ("field", "to"),
    [("model", 5), ("model", ["a"]), ("version", "a\nb"), ("weights", None), ("tile", 10**30), ("tile", 1), ("new", 1)],
)
def test_claims_of_a_forged_header_are_refused(
    model: PixelRNN, images: list[torch.Tensor], data: bytes, field: str, to: object
) -> None:
    (length,) = struct.unpack("<I", data[4:8])
    header = json.dumps({**json.loads(data[8 : 8 + length]), field: to}).encode()
    index_length, _ = struct.unpack("<II", data[-12:-4])
    index = data[len(data) - 12 - index_length : -12]
    crc = struct.pack("<II", index_length, zlib.crc32(index, zlib.crc32(header)))
    forged = data[:4] + struct.pack("<I", len(header)) + header + data[8 + length : -12] + crc + data[-4:]
    assert outcome(model, forged, images) == "refused"


@pytest.mark.parametrize(
    ("change", "to"),
    [
        ("images", 0),
        ("images", 2**31),
        ("images", 6),
        ("height", -1),
        ("height", 2**20),
        ("width", 1.5),
        ("length", 10**9),
        ("length", -1),
        ("crc", "0"),
        ("names", ["a"]),
        ("names", 3),
        ("names", list(range(9))),
        ("names", dict.fromkeys("abcdefghi")),
    ],
)
def test_claims_of_a_forged_index_are_refused(
    model: PixelRNN, images: list[torch.Tensor], data: bytes, change: str, to: object
) -> None:
    assert outcome(model, rewritten(data, change, to), images) == "refused"
