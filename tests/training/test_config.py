from typing import Any

import pytest

from pixelrnn.errors import InputError
from pixelrnn.training.config import TrainConfig


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, r"train\.epochs must be at least 1, got 0"),
        ({"batch": 0}, r"train\.batch must be at least 1, got 0"),
        ({"warmup": -1}, r"train\.warmup must not be negative, got -1"),
        ({"clip": float("nan")}, r"train\.clip must not be negative, got nan"),
        ({"sample_every": -1}, r"train\.sample_every must not be negative, got -1"),
        ({"learning_rate": 0.0}, r"train\.learning_rate must be above 0 and at most 1e6, got 0\.0"),
        ({"learning_rate": float("nan")}, r"train\.learning_rate must be above 0 and at most 1e6, got nan"),
        ({"learning_rate": float("inf")}, r"train\.learning_rate must be above 0 and at most 1e6, got inf"),
        ({"seed": 2**32}, r"train\.seed must be from 0 to 4294967295, got 4294967296"),
        ({"ema": 1.0}, r"train\.ema must be from 0 to below 1, got 1\.0"),
    ],
)
def test_values_out_of_range_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrainConfig(**options)
