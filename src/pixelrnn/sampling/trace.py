"""Traces the ``forward`` of a network into steps that can be computed position by position.

``forward`` runs once, with a tensor without values for each map and a stand-in for each module: a copy that shares the
weights. Each layer or operation becomes a step, or an error that names it and its module. The trace leaves the network
and other threads untouched.

The tracer of `torch.fx` would not: it replaces ``nn.Module.__call__`` in all threads while it runs, so modules that
other threads call fail. Here, maps are tensors that report each operation on them (``__torch_function__``).
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial, reduce
from threading import RLock
from typing import Any, NoReturn
from weakref import WeakKeyDictionary, ref

import jaxtyping
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from pixelrnn.errors import InputError
from pixelrnn.likelihood import logits_per_channel
from pixelrnn.nn import DiagonalBiLSTM, MaskedConv2d, RowLSTM
from pixelrnn.sampling.program import Program, Step


def trace(network: nn.Module, *, channels: int, levels: int, condition: int = 0, method: str = "forward") -> Program:
    """The steps of a network, traced again only if its modules or their attributes have changed.

    The trace skips hooks, and fixes branches of ``forward`` that depend on the values of weights. Arguments as in
    `pixelrnn.sampling.rows`, except ``condition``: the number of its features c, 0 for none.

    Raises:
        InputError: a module cannot be computed position by position, or sees the sub-pixel that it predicts.
    """
    network = getattr(network, "_orig_mod", network)  # torch.compile wraps the module
    asked = channels, levels, condition, method, _fingerprint(network)
    before, program = _programs.get(network, (None, None))
    try:
        is_new = before != asked
    except Exception:  # attributes may refuse comparison, as tensors do
        is_new = True
    if program is None or is_new:
        # Maps have no shape for jaxtyping to check. All threads share its switch, so they take turns.
        with _turns:
            was_off = jaxtyping.config.jaxtyping_disable
            jaxtyping.config.update("jaxtyping_disable", True)
            try:
                program = _Tracer(network, channels, levels, condition).program(method)
            finally:
                jaxtyping.config.update("jaxtyping_disable", was_off)
        _programs[network] = asked, program
    return program


_programs: WeakKeyDictionary[nn.Module, tuple[Any, Program]] = WeakKeyDictionary()
_turns = RLock()
_BOOKKEEPING = frozenset(vars(nn.Module())) - {"training"}
_PLAIN = frozenset({bool, int, float, str, type(None)})


def _fingerprint(network: nn.Module) -> list[Any]:
    """A value that changes with the modules and their attributes, as a trace may, but not with the weights."""
    return [(name, ref(module), _attributes(module)) for name, module in network.named_modules(remove_duplicate=False)]


def _attributes(module: nn.Module) -> dict[str, Any]:
    own = vars(module).items()
    return {k: v if type(v) in _PLAIN else _stand_for(v) for k, v in own if k not in _BOOKKEEPING}


def _stand_for(value: Any) -> Any:
    """A key that stays equal while the value does, without keeping it alive: the value may refer to the network."""
    if type(value) in (tuple, list):
        return [each if type(each) in _PLAIN else _stand_for(each) for each in value]
    if type(value) is dict:
        return {key: _stand_for(each) for key, each in value.items()}
    try:
        return value if type(value) in _PLAIN else ref(value)
    except TypeError:
        return value


class _RefusedError(Exception):
    """A module cannot be traced; `_Tracer.run` puts its name before the message."""


def _refuse(what: str, use: str = "MaskedConv2d, RowLSTM, DiagonalBiLSTM, +, torch.cat, relu") -> NoReturn:
    raise _RefusedError(f"{what} cannot be computed position by position; use {use}")


class _Map(Tensor):
    """Stands for a map, or for the logits, while ``forward`` runs, and reports each operation to the tracer."""

    tracer: "_Tracer"
    number: int
    is_logits: bool

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tracer = next(each.tracer for each in tree_leaves((args, kwargs)) if isinstance(each, _Map))
        return tracer.operation(func, args, kwargs or {})


class _Tracer:
    def __init__(self, network: nn.Module, channels: int, levels: int, condition: int) -> None:
        self.network, self.channels, self.levels = network, channels, levels
        self.pixel = logits_per_channel(levels), channels  # the logits of a pixel
        inputs = [np.arange(channels)] + [np.full(condition, -2)] * (condition > 0)
        self.steps = [Step("input", (), sees) for sees in inputs]

    def program(self, method: str) -> Program:
        """Runs the network and returns the program."""
        # The stand-ins are copies without hooks; calling them calls the tracer.
        stand_ins = {module: object.__new__(type(module)) for module in self.network.modules()}
        for name, module in self.network.named_modules():
            own = vars(stand_ins[module])
            own.update(vars(module), _compiled_call_impl=None, _buffers={**module._buffers})
            own.update({key: {} for key in _BOOKKEEPING if key.endswith("_hooks")})
            own["forward"] = partial(self.run, name, self.call, module, stand_ins[module])
            own["_modules"] = {key: child and stand_ins[child] for key, child in module._modules.items()}
        given = [self.map(number) for number in range(len(self.steps))]
        try:
            result = self.run("", lambda: getattr(stand_ins[self.network], method)(*given))
        finally:
            for stand_in in stand_ins.values():
                vars(stand_in).clear()  # break its cycle, which holds the weights
        if not (isinstance(result, _Map) and result.is_logits):
            expected = f"logits (B, K, C, H, W): end with unflatten(1, {self.pixel})"
            raise InputError(f"{type(self.network).__name__}: {method} must return {expected}")
        return self.needed(result.number)

    def run(self, name: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Calls a function on behalf of a module; errors name the module."""
        name = name or type(self.network).__name__
        try:
            return function(*args, **kwargs)
        except InputError:
            raise
        except Exception as error:
            kind = "" if isinstance(error, _RefusedError) else f" cannot be traced: {type(error).__name__}"
            raise InputError(f"{name}{kind}: {error}".splitlines()[0]) from error

    def call(self, module: nn.Module, stand_in: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """Handles the call of a module: a layer adds a step, another module runs its forward."""
        kind = type(module)
        layer = next((layer for layer in _LAYERS if isinstance(module, layer)), kind)
        if "forward" in vars(module) or kind.forward is not layer.forward:
            _refuse(f"{kind.__name__} with an overridden forward")
        if layer in _LAYERS:
            return self.map(_LAYERS[layer](self, module, *args, **kwargs))
        if kind.__module__.startswith("torch.nn.modules") and not isinstance(module, _RUN):
            _refuse(kind.__name__)
        return kind.forward(stand_in, *args, **kwargs)

    def operation(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Handles a function of PyTorch called with a map, or an attribute read from a map."""
        name = func.__name__
        if name == "__get__":
            if func.__self__.__name__ == "device":
                return torch.device("cpu")  # for `torch.utils.checkpoint`
            _refuse(f".{func.__self__.__name__}")
        called = name.strip("_")
        if "dropout" in called or called == "by_position":
            return args[0]
        if called not in ("add", "relu", "cat", "unflatten"):
            _refuse(f"the operation {called}")
        number = getattr(self, called)(*args, **kwargs)
        if name in ("add_", "relu_") or kwargs.get("inplace"):
            args[0].number = number  # in place: all references to the map see the result
            return args[0]
        return self.map(number, is_logits=called == "unflatten")

    def map(self, number: int, is_logits: bool = False) -> _Map:
        made = torch.empty(0).as_subclass(_Map)
        made.tracer, made.number, made.is_logits = self, number, is_logits
        return made

    def number(self, x: Any, features: int | None = None) -> int:
        """The number of a map that a step reads. Raises if x is not a map with this number of features."""
        if not isinstance(x, _Map):
            raise _RefusedError(f"expected a map, got {type(x).__name__}: add and concatenate only maps")
        if x.is_logits:
            _refuse("an operation after unflatten()")
        found = len(self.steps[x.number].sees)
        if features not in (None, found):
            raise _RefusedError(f"a map has {found} features, expected {features}")
        return x.number

    # Operations and layers: each takes the arguments of the original, adds steps, and returns the number of the result.

    def add(self, x: Any, other: Any) -> int:
        number = self.number(x)
        if isinstance(other, int) and other == 0:  # sum() starts with 0
            return number
        sees = self.steps[number].sees
        y = self.number(other, len(sees))
        return self.step(Step("copy", (number, y), np.maximum(sees, self.steps[y].sees)))

    def relu(self, x: Any, inplace: bool = False) -> int:
        number = self.number(x)
        return self.step(Step("relu", (number,), self.steps[number].sees))

    def cat(self, tensors: Any, dim: int = 0) -> int:
        if dim not in (1, -3):
            _refuse(f"cat(dim={dim})", "dim=1")
        return reduce(self.concatenate, map(self.number, tensors))

    def concatenate(self, x: int, y: int) -> int:
        return self.step(Step("concatenate", (x, y), np.concatenate([self.steps[x].sees, self.steps[y].sees])))

    def unflatten(self, x: Any, dim: int, sizes: Any) -> int:
        logits, channels = self.pixel
        number = self.number(x, logits * channels)
        if dim not in (1, -3) or tuple(sizes) not in (self.pixel, (-1, channels), (logits, -1)):
            _refuse(f"unflatten({dim}, {tuple(sizes)})", f"unflatten(1, {self.pixel}) for the logits")
        if self.steps[number].kind in ("convolution", "copy"):
            return number
        return self.step(Step("copy", (number,), self.steps[number].sees))

    def masked(self, layer: MaskedConv2d, x: Any, *, relu: bool = False, plus: Any = None) -> int:
        number = self.number(x, layer.in_channels)
        added = () if plus is None else (self.number(plus, layer.out_channels),)
        sees = np.max([self.seen(number, layer), *(self.steps[y].sees for y in added)], axis=0)
        reads = (self.relu(x) if relu else number, *added)
        return self.step(Step("convolution", reads, sees, layer.margin, ref(layer)))

    def unmasked(self, layer: nn.Conv2d, x: Any) -> int:
        number = self.number(x, layer.in_channels)
        is_1x1 = layer.kernel_size == layer.stride == (1, 1) and layer.padding == (0, 0) and layer.groups == 1
        if not is_1x1 or max(self.steps[number].sees) > -2:
            _refuse("nn.Conv2d", 'MaskedConv2d("B", …), or nn.Conv2d of size 1×1 of the condition alone')
        return self.step(Step("convolution", (number,), np.full(layer.out_channels, -2), layer=ref(layer)))

    def line_lstm(self, layer: Any, x: Any, condition: Any = None) -> int:
        gates, conditional = layer.input_to_state, layer.state_to_state.condition
        number = self.number(x, gates.in_channels)
        sees = self.seen(number, gates).reshape(4 * layer.directions, -1).max(axis=0)
        if condition is not None or conditional is not None:
            y = self.number(condition, conditional.in_channels if conditional else 0)
            number = self.concatenate(number, y)
            sees = np.maximum(sees, max(self.steps[y].sees))
        reach = (0, 1) if layer.layer == "row" else (1, 0)  # the mirror reads the row above, once complete
        return self.step(Step(layer.layer, (number,), sees, reach, ref(layer)))

    def seen(self, number: int, layer: MaskedConv2d) -> npt.NDArray[np.int64]:
        """The field `Step.sees` for a masked convolution of a map."""
        is_open = (layer.mask[:, :, layer.margin[0], layer.margin[1]] != 0).numpy(force=True)
        sees = self.steps[number].sees
        return np.where(is_open, sees, sees.clip(max=-1)).max(axis=1)

    def step(self, step: Step) -> int:
        """Adds a step. Raises if a feature sees its own sub-pixel or a later one."""
        own = np.arange(len(step.sees)) % self.channels
        for k in np.flatnonzero(step.sees >= own):
            hint = f'begin with MaskedConv2d("A", …), give all layers channels={self.channels}'
            wrong = f"feature {k} belongs to channel {own[k]} but sees channel {step.sees[k]} of the current pixel"
            raise _RefusedError(f"{wrong}; {hint}, and multiples of {self.channels} features to torch.cat")
        self.steps.append(step)
        return len(self.steps) - 1

    def needed(self, last: int) -> Program:
        """Keeps the steps that the last one depends on. Merges an addition with a convolution that only it reads."""
        steps = self.steps
        readers = Counter(read for step in steps for read in step.reads)
        for number, step in enumerate(steps):
            if step.kind == "copy" and len(step.reads) == 2:
                for y, x in (step.reads, step.reads[::-1]):
                    if steps[x].kind == "convolution" and len(steps[x].reads) == 1 and readers[x] == 1:
                        steps[number] = replace(steps[x], reads=(*steps[x].reads, y), sees=step.sees)
                        break
        needed = {last} | {number for number, step in enumerate(steps) if step.kind == "input"}
        for number in reversed(range(len(steps))):
            needed.update(steps[number].reads if number in needed else ())
        new = {number: n for n, number in enumerate(sorted(needed))}
        kept = (replace(steps[number], reads=tuple(new[read] for read in steps[number].reads)) for number in new)
        return Program(self.channels, self.levels, [*kept])


_LAYERS: dict[Any, Callable[..., int]] = {
    MaskedConv2d: _Tracer.masked,
    nn.Conv2d: _Tracer.unmasked,
    RowLSTM: _Tracer.line_lstm,
    DiagonalBiLSTM: _Tracer.line_lstm,
}
_RUN = (nn.Sequential, nn.Identity, nn.ReLU, nn.Unflatten, nn.modules.dropout._DropoutNd)  # allowed modules of torch.nn
