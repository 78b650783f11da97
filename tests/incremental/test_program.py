import torch
from torch import nn

from pixelrnn import PixelRNN
from pixelrnn.incremental import Convolution, LineLSTM, Program, Relu
from pixelrnn.nn import DiagonalBiLSTM, MaskedConv2d, RowLSTM


def conv(kernel: int, *, x: int = 0, plus: int | None = None, program: Program) -> int:
    return MaskedConv2d("B", program.features[x], 2, kernel).incremental(program, x, plus=plus)


def test_what_later_steps_read_of_a_map_is_kept() -> None:
    program = Program(5, 5, channels=1, levels=2)
    image = conv(7, program=program)
    assert program.kept(0) == (3, 3)
    conv(1, x=image, program=program)
    assert program.kept(image) == (0, 0)
    mirrored = DiagonalBiLSTM(2, 2).incremental(program, image)
    assert program.kept(image) == (1, 0)  # the mirror reads a row when it is complete
    below = RowLSTM(2, 2).incremental(program, mirrored)
    assert program.kept(mirrored) == (0, 1)
    assert program.kept(below) == (0, 0)
    conv(3, x=image, program=program)
    assert program.kept(image) == (1, 1)


def test_the_features_of_every_map() -> None:
    program = Program(2, 2, channels=3, levels=4)
    x = MaskedConv2d("A", 3, 8, 3, channels=3).incremental(program, 0)
    y = RowLSTM(8, 5, channels=3).incremental(program, x)
    MaskedConv2d("B", 5, 12, 1, channels=3).incremental(program, y, relu=True)
    assert program.features == [3, 8, 5, 5, 12]
    assert [type(step) for step in program.steps] == [Convolution, LineLSTM, Relu, Convolution]


def test_steps_that_only_the_logits_need_are_told_from_those_that_are_remembered() -> None:
    program = PixelRNN(levels=2, hidden=2, depth=2).incremental(4, 4)
    kinds = [type(step).__name__ for step in program.steps]
    remembered = program.remembered()
    assert [kind for kind, needed in zip(kinds, remembered, strict=True) if needed] == [
        *("Convolution", "LineLSTM", "Convolution", "LineLSTM")  # the first, and one block; the last block's LSTM
    ]
    # In a PixelCNN, the 3×3 convolutions read a row above; of the last one only its input is needed.
    program = PixelRNN(layer="pixel-cnn", levels=2, hidden=2, depth=1).incremental(4, 4)
    needed = program.remembered()
    kept = [step for step, is_needed in zip(program.steps, needed, strict=True) if is_needed]
    assert [tuple(step.weight.shape[2:]) for step in kept if isinstance(step, Convolution)] == [(4, 7), (1, 1)]


def test_programs_hold_no_graph() -> None:
    program = PixelRNN(levels=2, hidden=2).incremental(4, 4)
    tensors = [value for step in program.steps for value in vars(step).values() if isinstance(value, torch.Tensor)]
    assert len(tensors) == 4 + 4 * 2 + 2
    assert all(tensor.grad_fn is None or isinstance(tensor, nn.Parameter) for tensor in tensors)
