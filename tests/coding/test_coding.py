import math
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

import numpy as np
import pytest
import torch

from pixelrnn import InputError, MultiScalePixelRNN, PixelRNN
from pixelrnn.models import ImageModel
from pixelrnn.sampling import Run

coding = pytest.importorskip("pixelrnn.coding", reason="the extra compress is not installed")


def model_of(*, std: float = 0.4, **options: Any) -> Any:
    kind: Any = MultiScalePixelRNN if "factors" in options else PixelRNN
    model = kind(**{"levels": 2, "hidden": 3, **options})
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=std)
    return model


def images_of(model: ImageModel, *sizes: tuple[int, int]) -> list[torch.Tensor]:
    return [torch.randint(model.levels, (model.channels, *size), dtype=torch.uint8) for size in sizes]


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return len(a) == len(b) and all(torch.equal(*pair) for pair in zip(a, b, strict=True))


KINDS: list[dict[str, Any]] = [
    *({"layer": layer} for layer in ("diagonal-bilstm", "row-lstm", "pixel-cnn")),
    {"channels": 3, "levels": 256},
    {"channels": 2, "levels": 5, "depth": 2, "layer": "pixel-cnn"},
    {"orders": 8},
    {"orders": 2, "levels": 3, "channels": 3},
    {"classes": ["a", "b", "c"]},
    {"factors": (2,), "channels": 3, "levels": 6},
    {"factors": (3, 2), "orders": 4, "layer": "row-lstm"},
]

SHARP: list[dict[str, Any]] = [{"std": 3.0}, {"std": 2.0, "channels": 3, "levels": 4, "orders": 4}]
"""Networks that are sure of most levels, and often wrong."""


@pytest.mark.parametrize("options", KINDS + SHARP)
def test_the_images_come_back(options: dict[str, Any]) -> None:
    model = model_of(**options)
    images = images_of(model, (4, 4), (4, 4), (1, 1), (1, 7), (7, 1), (3, 5), (4, 4))
    labels = [0, 1, 2, 0, 1, 2, 0] if model.classes else None
    data = coding.encode(model, images, labels=labels)
    assert same(coding.decode(model, data), images)


class OneAtATime:
    """A coder whose bytes fit one distribution at a time."""

    def clone(self) -> "OneAtATime":
        return self

    def decode(self, _: object, weights: Any) -> Any:
        if len(weights) > 1:
            raise AssertionError
        return np.ones(1, np.int32)


def test_bytes_need_not_fit_the_logits_behind_a_wrong_guess() -> None:
    decoder, levels = coding.codec._Decoder(np.zeros(1, np.uint32), 2), np.zeros((3, 1), np.uint8)
    decoder.coder = OneAtATime()
    run = Run(torch.zeros(3, 1, 1), levels)
    decoder.follow(run)
    assert run.held == 1
    assert levels[:, 0].tolist() == [1, 0, 0]
    with pytest.raises(AssertionError):
        decoder.follow(Run(torch.zeros(1, 2, 1), np.zeros((1, 2), np.uint8)))


@pytest.mark.parametrize("options", [{}, {"orders": 8}, {"channels": 3, "levels": 4}])
@pytest.mark.parametrize("size", [(64, 64), (61, 47), (65, 30), (130, 70)])
def test_large_images_are_coded_as_tiles(options: dict[str, Any], size: tuple[int, int]) -> None:
    model = model_of(**options)
    images = images_of(model, size, size)
    assert same(coding.decode(model, coding.encode(model, images)), images)


@pytest.mark.parametrize("options", [{}, {"orders": 8}])
def test_the_tiles_of_a_large_image_are_coded_in_batches(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_of(**options)
    images = images_of(model, (200, 130))
    monkeypatch.setattr(coding.codec, "MOST_SUB_PIXELS", 2 * 64 * 64)
    parts = [part for part, _ in coding.codec._parts((1, 1, 200, 130), 64)]
    assert [len(part) for part in parts] == [2, 2, 2, 3, 2, 1]
    assert same(coding.decode(model, coding.encode(model, images)), images)


@pytest.mark.parametrize("options", KINDS)
def test_the_size_is_that_of_the_density(options: dict[str, Any]) -> None:
    """To 0.1 % and 8 bytes for a chunk, beside the header, whose size does not depend on the images."""
    model = model_of(**options)
    few, many = images_of(model, *[(5, 5)] * 1), images_of(model, *[(5, 5)] * 32)
    labels = torch.arange(32) % 3 if model.classes else None
    sizes = [len(coding.encode(model, x, labels=None if labels is None else labels[: len(x)])) for x in (few, many)]
    x = torch.stack(many)
    with torch.no_grad():
        each = torch.stack([model.log_prob(x, order=k, labels=labels) for k in range(model.orders)]).amax(dim=0)
    bits = -each.double() / math.log(2) + math.log2(model.orders) + math.log2(len(model.classes or "?"))
    assert sizes[1] - sizes[0] == pytest.approx(bits[1:].sum().item() / 8, rel=1e-3, abs=8)


def test_a_chunk_holds_neighbours_of_one_size_up_to_a_limit() -> None:
    model = model_of(hidden=1)
    file = BytesIO()
    coding.write(file, model, images_of(model, *[(1, 1)] * 600, (1, 2), (1, 1)))
    assert [chunk.images for chunk in coding.Reader(file).index.chunks] == [256, 256, 88, 1, 1]


def test_a_tensor_of_images_is_a_sequence_of_them() -> None:
    model = model_of()
    x = torch.stack(images_of(model, (3, 4), (3, 4)))
    assert coding.encode(model, x) == coding.encode(model, [*x])


@pytest.mark.parametrize("options", [{}, {"channels": 3, "levels": 8}, {"orders": 8}])
def test_the_bytes_do_not_depend_on_the_number_of_threads(options: dict[str, Any]) -> None:
    model = model_of(**options)
    images, threads = images_of(model, *[(9, 9)] * 300, (4, 4)), torch.get_num_threads()
    written = []
    try:
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            written.append(coding.encode(model, images))
            assert same(coding.decode(model, written[0]), images)
    finally:
        torch.set_num_threads(threads)
    assert written[0] == written[1] == written[2]


def test_training_mode_and_dropout_change_nothing() -> None:
    model = model_of(dropout=0.5, orders=8).train()
    images = images_of(model, (4, 4))
    data = coding.encode(model, images)
    assert model.training
    assert data == coding.encode(model.eval(), images)
    assert same(coding.decode(model, data), images)


def test_it_changes_neither_random_numbers_nor_threads() -> None:
    model, before, threads = model_of(), torch.get_rng_state(), torch.get_num_threads()
    images = images_of(model, *[(3, 3)] * 3)
    before = torch.get_rng_state()
    coding.decode(model, coding.encode(model, images))
    assert torch.equal(torch.get_rng_state(), before)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == threads


@pytest.mark.usefixtures("as_a_user")
def test_what_cannot_be_coded_is_refused() -> None:
    model, classes = model_of(channels=3, levels=4), model_of(classes=["a", "b"])
    good = images_of(model, (2, 2))
    for wrong, message in (
        (torch.zeros(2, 2, 2, dtype=torch.uint8), r"images are a uint8 tensor \(1, 2, 2, 2\), expected uint8 \(B, 3"),
        (torch.zeros(3, 2, 2), "images are a float32 tensor"),
        (torch.full((3, 2, 2), 4, dtype=torch.uint8), "images have a level 4, expected 0 to 3"),
        (torch.zeros(3, 0, 2, dtype=torch.uint8), r"images are a uint8 tensor \(1, 3, 0, 2\)"),
    ):
        with pytest.raises(InputError, match=message):
            coding.encode(model, [*good, wrong])
    anything: Any = [[[0, 1]]]
    with pytest.raises(InputError, match=r"an image is a list, expected a uint8 tensor \(C, H, W\)"):
        coding.encode(model, anything)
    with pytest.raises(InputError, match="there are no images, expected at least one"):
        coding.encode(model, [])
    with pytest.raises(InputError, match="labels are missing, expected one of 2 classes"):
        coding.encode(classes, images_of(classes, (2, 2)))
    with pytest.raises(InputError, match="3 labels for 1 images, expected one for each"):
        coding.encode(classes, images_of(classes, (2, 2)), labels=[0, 1, 1])
    with pytest.raises(InputError, match=r"labels: int64 tensor \(1,\), expected whole numbers \(2,\)"):
        coding.encode(classes, images_of(classes, (2, 2), (2, 2)), labels=[0])
    odd: list[Any] = [["a"], [None], [[0], [0, 1]], "cat", object(), [2**70], [0.5], [True], [-1], [3]]
    for labels in odd:
        with pytest.raises(InputError, match="label"):
            coding.encode(classes, images_of(classes, (2, 2)), labels=labels)
    with pytest.raises(InputError, match="the model is float64 on cpu, expected float32 on the CPU"):
        coding.encode(model_of(channels=3, levels=4).double(), good)
    with pytest.raises(InputError, match="the model is conditional on a map"):
        coding.encode(model_of(condition=2), [torch.zeros(1, 2, 2, dtype=torch.uint8)])
    with pytest.raises(InputError, match="0 names for 1 images, expected one for each"):
        coding.write(BytesIO(), model, good, names=[])
    with pytest.raises(InputError, match="the model is float32 on meta, expected float32 on the CPU"):
        coding.encode(model_of(channels=3, levels=4).to("meta"), good)


def test_another_model_is_refused() -> None:
    model, images = model_of(), [torch.zeros(1, 4, 4, dtype=torch.uint8)]
    data, other = coding.encode(model, images), model_of()
    with pytest.raises(InputError, match="file was compressed with another model, or with other weights"):
        coding.decode(other, data)
    other.load_state_dict(model.state_dict())
    assert same(coding.decode(other, data), images)
    with torch.no_grad():
        other.first.bias[0] = torch.nextafter(other.first.bias[0], torch.tensor(1.0))
    with pytest.raises(InputError, match="another model"):
        coding.decode(other, data)


def test_a_machine_that_computes_other_bits_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of()
    data = coding.encode(model, images_of(model, (4, 4)))
    monkeypatch.setattr(coding.codec, "numerics", lambda *_: "other")
    with pytest.raises(InputError, match=r"needs other bits of the logits than this machine computes \(pixelrnn \d"):
        coding.decode(model, data)


def test_without_the_compiled_library_it_is_refused() -> None:
    from pixelrnn.ops import backend

    model = model_of()
    with backend("reference"), pytest.raises(InputError, match="compression needs the compiled library"):
        coding.encode(model, images_of(model, (4, 4)))
