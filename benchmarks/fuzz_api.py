"""Calls public functions and registered operators with random arguments, many of them wrong.

    python benchmarks/fuzz_api.py --trials 1000 --seed 0

A call must raise InputError with one line, or equal the reference backend in output and gradients. Each trial runs in a
forked child, so the script survives and counts crashes. ``--first 17 --trials 1`` repeats trial 17.
"""

import argparse
import json
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from pixelrnn import InputError, MultiScalePixelRNN, PixelRNN, causality, likelihood, nn, ops, sampling

SECONDS = 20
"""Time limit of one trial."""
TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-3}
DTYPES = [torch.float32] * 8 + [torch.float64] * 4 + [torch.bfloat16, torch.float16, torch.int64, torch.uint8]

Call = Callable[[], Any]


class Draw(random.Random):
    """The arguments of one trial."""

    def __init__(self, seed: str) -> None:
        super().__init__(seed)
        torch.manual_seed(self.getrandbits(32))
        self.dtype = self.choice(DTYPES)
        self.wrong = self.choice((0.0, 0.0, 0.1))  # how often an argument is wrong
        self.leaves: list[Tensor] = []
        self.said: list[str] = []

    def size(self) -> int:
        return self.choice((0, 1, 1, 2, 3, 4, 5, 9))

    def tensor(self, *shape: int, dtype: torch.dtype | None = None, high: int = 2) -> Tensor:
        """A tensor of this shape in a random layout; sometimes shape or type are wrong."""
        sizes, dtype = [*shape], dtype or self.dtype
        if sizes and self.random() < self.wrong:
            sizes[self.randrange(len(sizes))] = self.size()
        if sizes and self.random() < self.wrong / 2:
            self.choice((sizes.pop, lambda: sizes.append(1)))()
        if self.random() < self.wrong:
            dtype = self.choice(DTYPES)
        x = torch.randn(sizes).to(dtype) if dtype.is_floating_point else torch.randint(high, sizes).to(dtype)
        x = self.choice(LAYOUTS)(self, x).detach()
        if x.is_floating_point() and self.random() < 0.6:
            self.leaves.append(x.requires_grad_())
        self.said.append(f"{dtype} {tuple(x.shape)} stride {x.stride()}{' grad' * x.requires_grad}")
        return x

    def module(self, kind: Callable[..., Any], *given: Any, **how: Any) -> Any:
        """A layer or model, with some weights frozen."""
        self.said.append(f"{getattr(kind, '__name__', kind)}{given} {how}")
        module = kind(*given, **how)
        module.to(torch.float64 if self.dtype == torch.float64 else torch.float32)
        for weight in module.parameters():
            torch.nn.init.uniform_(weight, -0.5, 0.5)
            self.leaves += [weight.requires_grad_(self.random() < 0.8)] * weight.requires_grad
        return module


def _expanded(r: Draw, x: Tensor) -> Tensor:
    d = r.randrange(max(1, x.ndim))
    return x.narrow(d, 0, 1).expand(x.shape) if x.ndim and x.shape[d] else x


LAYOUTS: list[Callable[[Draw, Tensor], Tensor]] = [
    lambda r, x: x,
    lambda r, x: x,
    lambda r, x: x.mT.contiguous().mT if x.ndim > 1 else x,
    lambda r, x: x.permute([*range(x.ndim)][::-1]).contiguous().permute([*range(x.ndim)][::-1]),
    lambda r, x: torch.cat([x, x], dim=-1)[..., ::2] if x.ndim else x,
    _expanded,
    lambda r, x: torch._neg_view(-x) if x.is_floating_point() else x,
    lambda r, x: x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x,
]


# The calls: each function draws the arguments of one call.


def layer(r: Draw) -> Call:
    channels, condition = r.choice((1, 1, 2, 3)), r.choice((0, 0, 2))
    features, hidden = channels * r.choice((1, 2, 3)), channels * r.choice((1, 2, 5))
    b, h, w = r.size(), r.size(), r.size()
    how: dict[str, Any] = {"channels": channels}
    match r.randrange(5):
        case 0 | 1:
            kind = r.choice((nn.RowLSTM, nn.DiagonalBiLSTM))
            module = r.module(kind, features, hidden, condition=condition, **how)
        case 2:
            kernel = r.choice((1, 3, 5, (1, 3), (3, 1), 2, 0))
            module = r.module(nn.MaskedConv2d, r.choice("AAB"), features, hidden, kernel, **how)
            condition = 0
        case 3:
            name = r.choice(("diagonal-bilstm", "row-lstm", "pixel-cnn"))
            module, features = r.module(nn.ResidualBlock, name, hidden, condition=condition, **how), 2 * hidden
        case _:
            module, condition = r.module(nn.OutputHead, features, hidden, r.choice((1, 4)), **how), 0
    x = r.tensor(b, features, h, w)
    given = [r.tensor(b, condition, h, w)] if condition and r.random() >= r.wrong else []
    return lambda: module(x, *given)


def _line_lstm(r: Draw) -> tuple[Any, Any, int]:
    name: Any = r.choice(("row", "diagonal"))
    (d, s, t), height = {"row": (1, 2, 3), "diagonal": (2, 1, 2)}[name], r.size()
    n, b, f, h = height * r.size(), r.size(), r.choice((1, 2, 5)), r.choice((1, 2, 5, 17))
    shapes = (n, b, f), (d, s, f, 4 * h), (d, 4 * h), (d, t, h, 4 * h), (d, 2, h)
    operands = [r.tensor(*shape) for shape in shapes]
    if r.random() < r.wrong:
        name, height = r.choice((("column", height), (name, -1), (name, 2**40), (name, height + 1)))
    r.said.append(f"{name}, height {height}")
    return operands, name, height


def line_lstm_of(operands: Sequence[Tensor], name: Any, height: int) -> Call:
    return lambda: ops.line_lstm(*(*operands, name, height))


def line_lstm(r: Draw) -> Call:
    return line_lstm_of(*_line_lstm(r))


def _conv(r: Draw) -> tuple[Any, int, bool]:
    height, g, f = r.size(), r.choice((1, 2, 17)), r.choice((1, 2, 5))
    n, b, rows, columns = height * r.size(), r.size(), r.choice((1, 3, 5)), r.choice((1, 3, 7))
    if r.random() < r.wrong:
        rows, height = r.choice(((2, height), (0, height), (rows, -1), (rows, height + 1), (rows, 2**40)))
    x, weight, bias = r.tensor(n, b, f), r.tensor(g, f, rows, columns), r.tensor(g)
    r.said.append(f"height {height}")
    return [x, weight, bias, r.tensor(n, b, g) if r.random() < 0.5 else None], height, r.random() < 0.5


def masked(weight: Tensor) -> Tensor:
    """The weight with zeros at the taps after the centre, as the operators require."""
    if weight.ndim != 4 or not weight.numel():
        return weight
    taps = torch.arange(weight[0, 0].numel()).view(weight.shape[2:])
    return weight * (taps <= len(taps.flatten()) // 2)


def conv(r: Draw) -> Call:
    (x, weight, bias, plus), height, relu = _conv(r)
    return lambda: ops.conv(x, masked(weight), bias, height, relu=relu, plus=plus)


def function(r: Draw) -> Call:
    """Functions without backends: they must not crash, and must return the same result twice."""
    x = r.tensor(*[r.size() for _ in range(r.randrange(5))])
    k, m, channels, maps, rows, columns = (r.size() for _ in range(6))
    mask_type: Any = r.choice("ABC")
    return r.choice(
        (
            lambda: nn.skew(x),
            lambda: nn.unskew(x),
            lambda: nn.feature_channels(k, channels, maps),
            lambda: nn.mask(mask_type, k, m, (rows, columns), channels=channels, maps=maps),
            lambda: likelihood.log_probabilities(x),
            lambda: likelihood.intensities(x, k, torch.float32),
            lambda: likelihood.bits_per_dim(float(k), channels),
        )
    )


def model(r: Draw) -> Call:
    classes = r.choice((None, None, ["a", "b"]))
    kind = r.choice(("diagonal-bilstm", "row-lstm", "pixel-cnn"))
    channels, levels, b, h, w = r.choice((1, 1, 3)), r.choice((2, 3, 256)), r.size(), r.size(), r.size()
    orders = r.choice((1, 1, 2, 8)) if r.random() >= r.wrong else r.choice((0, 3, None))
    how: dict[str, Any] = {"channels": channels, "levels": levels, "hidden": 3, "layer": kind, "classes": classes}
    how["orders"] = orders
    module = r.module(PixelRNN, **how) if r.random() < 0.7 else r.module(MultiScalePixelRNN, factors=(2,), **how)
    x = r.tensor(b, channels, h, w, dtype=torch.uint8, high=levels + (r.random() < r.wrong))
    given: dict[str, Any] = {}
    if classes and r.random() >= r.wrong:
        given["labels"] = r.tensor(b, dtype=torch.int64)
    if r.random() < 0.5:
        high = module.orders + (r.random() < r.wrong)
        given["order"] = r.choice((r.randrange(high), r.tensor(b, dtype=torch.int64, high=high)))
    known = r.tensor(h, w, dtype=torch.bool) if r.random() < 0.5 else r.tensor(b, h, w, dtype=torch.bool)
    temperature = r.choice((1.0, 0.5, 0, -1, float("nan"))) if r.random() < r.wrong else 1.0
    noise, seed = torch.Generator(), r.getrandbits(32)
    how = {"generator": noise, "temperature": temperature, **given}

    def seeded(call: Call) -> Call:
        return lambda: (noise.manual_seed(seed), call())[1]

    at = r.size(), r.size()
    network = module if isinstance(module, PixelRNN) else module.scales[0]
    traced: dict[str, Any] = {"levels": levels, "method": "logits", "generator": noise, "temperature": temperature}
    return r.choice(
        (
            lambda: module.log_prob(x, **given),
            lambda: module.log_prob_map(x, **given),
            seeded(lambda: module.sample(b, height=h, width=w, **how)),
            seeded(lambda: module.complete(x, known, **how)),
            seeded(lambda: sampling.sample(network, b, size=(h, w), channels=channels, **traced)),
            seeded(lambda: sampling.complete(network, x, known, **traced)),
            lambda: len(causality.leaks(network.logits, size=(min(h, 3), min(w, 3)), channels=channels)),
            lambda: torch.tensor(causality.sees(network.logits, size=(h, w), channels=channels, at=at).array),
        )
    )


def arguments(r: Draw, name: str, **given: Any) -> list[Any]:
    """The arguments of a registered operator, in the order of its schema."""
    in_cpp, dtype = r.random() < 0.7, given["x"].dtype
    how = {"backend": "cpu" if in_cpp else "manual", "factors": dtype}
    values = {**how, "keep": r.random() < 0.7, "wants_dx": True, **given}
    return [values[argument.name] for argument in getattr(torch.ops.pixelrnn, name).default._schema.arguments]


OPERANDS = "x", "input_to_state", "bias", "state_to_state", "initial"


def raw_line_lstm(r: Draw) -> Call:
    operands, name, height = _line_lstm(r)
    given = arguments(r, "line_lstm", **dict(zip(OPERANDS, operands, strict=True)), layer=name, height=height)
    plain = line_lstm_of(operands, name, height)
    return lambda: plain() if reference() else torch.ops.pixelrnn.line_lstm(*given)[0]


def raw_conv(r: Draw) -> Call:
    (x, weight, bias, plus), height, relu = _conv(r)
    how = {"x": x, "bias": bias, "plus": plus, "height": height, "relu": relu}

    def call() -> Any:
        if reference():
            return ops.conv(x, masked(weight), bias, height, relu=relu, plus=plus)
        return torch.ops.pixelrnn.conv(*arguments(r, "conv", weight=masked(weight), **how))

    return call


def raw_line_lstm_backward(r: Draw) -> Call:
    """The backward pass with an empty ``saved``, or with one that no forward pass returns."""
    operands, name, height = _line_lstm(r)
    d_output = r.tensor(*operands[0].shape[:2], operands[4].shape[-1] if operands[4].ndim else 1)
    saved = r.tensor(0 if r.random() < 0.8 else 16 * r.size())
    how = {"saved": saved, "d_output": d_output, "layer": name, "height": height}
    given = arguments(r, "line_lstm_backward", **dict(zip(OPERANDS, operands, strict=True)), **how)

    def call() -> Any:
        if not reference():
            with torch.no_grad():
                return torch.ops.pixelrnn.line_lstm_backward(*given)
        return by_autograd(lambda *inputs: line_lstm_of(inputs, name, height)(), operands, d_output)

    return call


def raw_conv_backward(r: Draw) -> Call:
    (x, weight, *_), height, relu = _conv(r)
    bias = x.new_zeros(weight.shape[:1])
    dy = r.tensor(*x.shape[:2], len(weight) if weight.ndim else 1)
    how = {"x": x, "weight": masked(weight).detach(), "dy": dy, "height": height, "relu": relu}

    def call() -> Any:
        if not reference():
            with torch.no_grad():
                return torch.ops.pixelrnn.conv_backward(*arguments(r, "conv_backward", **how))
        return by_autograd(convolve, (x, weight, bias), dy)

    def convolve(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return ops.conv(x, masked(weight), bias, height, relu=relu)

    return call


def by_autograd(function: Callable[..., Tensor], inputs: Sequence[Tensor], d_output: Tensor) -> tuple[Tensor, ...]:
    leaves = [x.detach().requires_grad_() for x in inputs]
    return torch.autograd.grad(function(*leaves), leaves, d_output.detach(), allow_unused=True, materialize_grads=True)


SUBJECTS = [*[layer] * 5, *[line_lstm] * 3, conv, conv, function, model, model, model]
SUBJECTS += [raw_line_lstm, raw_conv, raw_line_lstm_backward, raw_conv_backward]


def reference() -> bool:
    return ops._named == "reference"


def results(call: Call, leaves: Sequence[Tensor]) -> list[Tensor]:
    """Returns the outputs of a call and the gradients of the leaves."""
    output = call()
    outputs = [y for y in (output if isinstance(output, tuple) else (output,)) if isinstance(y, Tensor)]
    if not outputs:
        return [torch.tensor([hash(output) % 2**31])]
    random_ = torch.Generator().manual_seed(0)
    total = sum((y * torch.randn(y.shape, generator=random_).to(y.dtype)).sum() for y in outputs if y.requires_grad)
    if not isinstance(total, Tensor):
        return [*outputs, *map(torch.zeros_like, leaves)]
    return [*outputs, *torch.autograd.grad(total, leaves, allow_unused=True, materialize_grads=True)]


def trial(name: str) -> tuple[str, str]:
    """Returns the result of a trial ("equal", "InputError" or a fault) and a description of its call."""
    r = Draw(name)
    subject = r.choice(SUBJECTS)
    torch.set_num_threads(r.choice((1, 2, 3)))
    r.said.append(f"{subject.__name__}:")
    call: Call | None = None
    backend: ops.Backend = r.choice(("auto", "auto", "manual"))
    try:
        call = subject(r)
        with ops.backend(backend):
            got = results(call, r.leaves)
    except InputError as error:
        if not str(error) or "\n" in str(error):
            return "an InputError of several lines", ""
        # A registered operator converts nothing, and its backward pass is given more than the reference reads.
        checks = not subject.__name__.startswith("raw")
        return refused(str(error), call if checks else None), " ".join([backend, *r.said])
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}", " ".join(r.said)
    try:
        with ops.backend("reference"):
            expected = results(call, r.leaves)
    except Exception as error:
        return f"the reference raises {type(error).__name__}: {' '.join(str(error).split())[:200]}", " ".join(r.said)
    return ("equal" if equal(got, expected) else "another result"), " ".join([backend, *r.said])


def refused(error: str, call: Call | None) -> str:
    """Judges a refusal of arguments: it is a fault if the reference computes with them."""
    if call is not None:
        with suppress(Exception), ops.backend("reference"):
            call()
            return f"refused, though the reference computes: {error}"
    return "InputError"


def equal(got: Sequence[Tensor], expected: Sequence[Tensor]) -> bool:
    """True if all are equal, up to the rounding of the coarsest type among them."""
    if [(y.shape, y.dtype) for y in got] != [(y.shape, y.dtype) for y in expected]:
        return False
    tolerance = max(TOLERANCE.get(y.dtype, 0.1 if y.is_floating_point() else 0) for y in got)
    for y, z in zip(got, (z.detach().double() for z in expected), strict=True):
        atol = tolerance * (1 + float(z.abs().nan_to_num().max())) if z.numel() else 0
        if not torch.allclose(y.double(), z, rtol=0, atol=atol, equal_nan=True):
            return False
    return True


def run(seed: int, first: int, last: int) -> list[tuple[int, str, str]]:
    """Returns number, result and call of each trial. After a crash, a new process continues with the next trial."""
    found: list[tuple[int, str, str]] = []
    while first < last:
        read, write = os.pipe()
        if not (child := os.fork()):
            with open(write, "w") as out:
                for n in range(first, last):
                    signal.alarm(SECONDS)
                    print(json.dumps([n, *trial(f"{seed} {n}")]), file=out, flush=True)
            os._exit(0)
        os.close(write)
        with open(read) as lines:
            found += [tuple(json.loads(line)) for line in lines]
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        first = found[-1][0] + 1 if found else first
        if status:
            found.append((first, f"the process ended with {status}", ""))
            first += 1
    return found


def main() -> None:
    """Runs the trials, and prints faults and counts."""
    parser = argparse.ArgumentParser()
    for name, default in {"--trials": 1000, "--seed": 0, "--first": 0}.items():
        parser.add_argument(name, type=int, default=default)
    given = parser.parse_args()
    found = run(given.seed, given.first, given.first + given.trials)
    faults = [each for each in found if each[1] not in ("equal", "InputError")]
    for n, result, call in faults:
        print(f"trial {n}: {result}: {call}")
    counts = Counter(result for _, result, _ in found)
    print(f"{len(found)} calls: {counts['equal']} equal, {counts['InputError']} InputError, {len(faults)} faults")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
