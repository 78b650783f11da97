import numpy as np
import pytest
import torch

pytest.importorskip("constriction", reason="the extra compress is not installed")


def test_images_come_back_at_the_price_of_the_density() -> None:
    from benchmarks.round_trips import KINDS, image_of, model_of, round_trip

    torch.manual_seed(0)
    random = np.random.default_rng(0)
    for options in (KINDS["classes"], KINDS["16 levels"]):
        model = model_of(options)
        images = [image_of(model, size, random) for size in ((5, 3), (5, 3), (70, 1))]
        labels = [0, 1, 2] if model.classes else None
        chunks, size, expected, right = round_trip(model, images, labels)
        assert right
        assert chunks == 2
        assert size == pytest.approx(expected, abs=16)


def test_the_images_are_of_all_kinds() -> None:
    from benchmarks.round_trips import image_of, model_of

    model, random = model_of({"channels": 3, "levels": 16}), np.random.default_rng(0)
    images = [image_of(model, (9, 7), random) for _ in range(40)]
    assert {(*image.shape, image.dtype) for image in images} == {(3, 9, 7, torch.uint8)}
    assert max(int(image.max()) for image in images) == 15
    colours = [len(image.flatten(1).unique(dim=1).mT) for image in images]
    assert 1 in colours
    assert max(colours) > 50
