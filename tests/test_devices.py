import pytest
import torch

from pixelrnn import InputError
from pixelrnn.devices import resolve


def test_a_gpu_is_taken_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for there, device in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr("torch.cuda.is_available", lambda there=there: there)
        assert resolve("auto") == torch.device(device)
        assert resolve("cpu") == torch.device("cpu")
    with pytest.raises(InputError, match="device cuda cannot be used here: PyTorch finds no GPU"):
        resolve("cuda")
