import importlib
import signal
import threading
from typing import Any

import pytest

from pixelrnn.data import DataConfig
from pixelrnn.errors import InputError, check_number, extra, held, input_error, on_signals
from pixelrnn.training.recipe import ModelConfig, TrainConfig


@pytest.mark.parametrize(
    ("value", "limits", "expected"),
    [
        (0, {"least": 1}, "at least 1, got 0"),
        (5, {"least": 1, "most": 4}, "from 1 to 4, got 5"),
        (0.0, {"above": 0, "most": 2, "whole": False}, r"above 0 and at most 2, got 0\.0"),
        (1.0, {"least": 0, "below": 1, "whole": False}, r"at least 0 and below 1, got 1\.0"),
        (float("nan"), {"least": 0, "whole": False}, "at least 0, got nan"),
        (1.5, {"least": 1}, r"a whole number, got 1\.5"),
        (True, {"least": 1}, "a whole number, got True"),
        ("many", {"least": 1, "whole": False}, "a number, got 'many'"),
    ],
)
def test_numbers_outside_their_limits_are_named(value: object, limits: dict[str, Any], expected: str) -> None:
    with pytest.raises(InputError, match=f"^n must be {expected}$"):
        check_number("n", value, **limits)


def test_numbers_on_their_limits_are_taken() -> None:
    check_number("n", 1, least=1)
    check_number("n", 4, most=4)
    check_number("n", 0.5, above=0, below=1, whole=False)


def test_other_errors_become_input_errors_of_one_line() -> None:
    with pytest.raises(InputError, match=r"^a\.npy is damaged: cut short$"), input_error("a.npy is damaged", EOFError):
        raise EOFError("cut\n short")
    with pytest.raises(InputError, match=r"^its own$"), input_error("a.npy is damaged", Exception):
        raise InputError("its own")
    with pytest.raises(InputError, match=r"^a\.json: its own$"), input_error("a.json", InputError):
        raise InputError("its own")
    with pytest.raises(KeyError), input_error("a.npy is damaged", EOFError):
        raise KeyError


def test_a_module_that_is_missing_names_its_extra() -> None:
    needs = r"^a figure needs the extra 'train': pip install 'pixelrnn\[train\]'$"
    with pytest.raises(InputError, match=needs), extra("train", wanted_by="a figure"):
        importlib.import_module("pixelrnn.nothing")


def test_signals_are_handled_within_the_block_only() -> None:
    seen: list[int] = []
    before = signal.getsignal(signal.SIGTERM)
    with on_signals(lambda signum, _: seen.append(signum), signal.SIGTERM):
        signal.raise_signal(signal.SIGTERM)
    assert seen == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) == before


def test_only_the_main_thread_handles_signals() -> None:
    entered = []

    def work() -> None:
        with on_signals(signal.SIG_IGN, signal.SIGTERM):
            entered.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert entered == [signal.getsignal(signal.SIGTERM)]


def test_a_signal_is_held_back_until_there_is_a_handler() -> None:
    got: list[int] = []
    with on_signals(lambda signum, frame: got.append(0), signal.SIGUSR1), held(signal.SIGUSR1):
        signal.raise_signal(signal.SIGUSR1)
        assert got == []
        with on_signals(lambda signum, frame: got.append(1), signal.SIGTERM):
            assert got == []
        with on_signals(lambda signum, frame: got.append(2), signal.SIGUSR1):
            assert got == [2]
        signal.raise_signal(signal.SIGUSR1)
        assert got == [2]
    assert got == [2, 0]
    with held():  # none
        signal.pthread_sigmask(signal.SIG_BLOCK, [])
    assert signal.SIGUSR1 not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (ModelConfig, {"layer": "gru"}),
        (ModelConfig, {"orders": 3}),
        (TrainConfig, {"optimizer": "adamw"}),
        (TrainConfig, {"schedule": "linear"}),
        (TrainConfig, {"precision": "bf16"}),
        (TrainConfig, {"device": "mps"}),
        (TrainConfig, {"logger": "print"}),
        (DataConfig, {"source": "photos"}),
        (DataConfig, {"mode": "gray"}),
        (DataConfig, {"crop": "center"}),
    ],
)
@pytest.mark.usefixtures("as_a_user")
def test_an_option_takes_only_the_values_that_it_lists(kind: Any, options: dict[str, Any]) -> None:
    [(name, value)] = options.items()
    section = kind.__name__.removesuffix("Config").lower()
    with pytest.raises(InputError, match=rf"^{section}\.{name} is {value!r}, expected "):
        kind(**options)
