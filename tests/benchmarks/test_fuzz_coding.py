import random

import pytest
import torch

from pixelrnn import PixelRNN

pytest.importorskip("constriction", reason="the extra compress is not installed")


def test_it_tells_right_files_from_refused_and_wrong_ones() -> None:
    from benchmarks.fuzz_coding import damaged, outcome

    from pixelrnn import coding

    model, images = PixelRNN(levels=2, hidden=2), [torch.zeros(1, 2, 2, dtype=torch.uint8)]
    data = coding.encode(model, images)
    assert outcome(model, data, images) == "right"
    assert outcome(model, data, [1 - images[0]]) == "fault: wrong pixels"
    assert outcome(model, data[:-1], images) == "refused"
    draw = random.Random(0)
    flipped = damaged(data, 0, 1, draw)
    assert sum((a ^ b).bit_count() for a, b in zip(data, flipped, strict=True)) == 1
    assert damaged(data, 1, 1, draw) != data
