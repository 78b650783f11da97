"""A network as steps that can be computed position by position, traced from its ``forward``.

``forward`` runs once, with a proxy of `torch.fx` for each map and a stand-in for each module: a copy that shares the
weights. What a proxy meets becomes a step at once, or is refused by its name and its module's.

`torch.fx.Tracer` would replace ``nn.Module.__call__`` in all threads, and compiled functions raise while it traces.
Stand-ins change nothing that another thread, or the network, could notice.
"""

import operator
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial, reduce
from inspect import signature
from itertools import chain
from threading import RLock
from typing import Any, NoReturn
from weakref import WeakKeyDictionary, ref

import jaxtyping
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.fx import Graph, Node, Proxy
from torch.fx.proxy import GraphAppendingTracer

from pixelrnn.errors import InputError
from pixelrnn.likelihood import logits_per_channel
from pixelrnn.nn import DiagonalBiLSTM, MaskedConv2d, RowLSTM
from pixelrnn.ops.lines import LAYERS, Layer, Lines


@dataclass(frozen=True)
class Step:
    """Makes a map of map x, and of map y if it is given. Maps are numbered: the inputs, then what each step makes."""

    x: int
    y: int | None = None
    reach: tuple[int, int] = (0, 0)
    """How many rows above, and columns to both sides, it reads of x."""

    @property
    def reads(self) -> list[int]:
        """The maps that it is made of."""
        return [number for number in (self.x, self.y) if number is not None]


class Relu(Step):
    """max(x, 0)."""


class Concatenate(Step):
    """The features of x, then those of y."""


@dataclass(frozen=True)
class Convolution(Step):
    """A convolution of x, to which y is added."""

    layer: ref[nn.Module] | None = None
    """None stands for a copy of x."""


@dataclass(frozen=True, kw_only=True)
class LineLSTM(Step):
    """The recurrence of a layer over x."""

    layer: ref[nn.Module]
    kind: Layer

    @property
    def lines(self) -> Lines:
        """What a position reads: the offsets alone, which are the same for images of any size."""
        return LAYERS[self.kind](1, 1)


@dataclass(frozen=True)
class Program:
    """The steps of a network in their order. Map 0 is the image, map 1 the condition if there is one.

    The last step is the convolution that gives the logits: level l of channel c is feature l·C + c.
    """

    channels: int
    levels: int
    features: tuple[int, ...]
    """Of each map."""
    steps: tuple[Step, ...]

    @property
    def inputs(self) -> int:
        """How many maps no step makes."""
        return len(self.features) - len(self.steps)

    @cached_property
    def kept(self) -> list[tuple[int, int]]:
        """Of each map: how many rows above the current one, and columns beside it, later steps read."""
        kept = [(0, 0)] * len(self.features)
        for step in self.steps:
            above, beside = zip(kept[step.x], step.reach, strict=True)
            kept[step.x] = max(above), max(beside)
        return kept

    @cached_property
    def remembered(self) -> list[bool]:
        """Of each step: whether later positions depend on it. Where a pixel is known the others are skipped."""
        needed = [False] * self.inputs + [isinstance(step, LineLSTM) for step in self.steps]  # of all maps
        for number in reversed(range(self.inputs, len(needed))):
            step = self.steps[number - self.inputs]
            for read in step.reads if needed[number] else [step.x] if step.reach != (0, 0) else []:
                needed[read] = True
        return needed[self.inputs :]


def operands(program: Program) -> list[tuple[Tensor, ...]]:
    """The weights of each step as they are now: all that is read of the layers when a batch begins.

    Returns:
        Of a convolution its weight (G, F, rows, columns), the centre's row last, and its bias (G); of an LSTM what
        `pixelrnn.ops.line_lstm` takes after the map; of other steps nothing.
    """
    found = [_weights(step) for step in program.steps]
    if (like := next(chain(*found), None)) is None:
        raise InputError("the network has no layers")
    for n, step in enumerate(program.steps):
        if isinstance(step, Convolution) and step.layer is None:
            copy = torch.eye(program.features[step.x], dtype=like.dtype, device=like.device)
            found[n] = copy[:, :, None, None], copy.new_zeros(len(copy))
    return found


def _weights(step: Step) -> tuple[Tensor, ...]:
    layer: Any = step.layer() if isinstance(step, Convolution | LineLSTM) and step.layer else None
    if layer is None:
        return ()
    if isinstance(step, LineLSTM):
        return tuple(layer.operands())
    if isinstance(layer, MaskedConv2d):
        return layer.masked_weight[:, :, : layer.margin[0] + 1], layer.bias  # no tap below the centre is open
    return layer.weight, layer.weight.new_zeros(len(layer.weight)) if layer.bias is None else layer.bias


def trace(network: nn.Module, *, channels: int, levels: int, condition: int = 0, method: str = "forward") -> Program:
    """The steps of a network; traced again only where its modules or their attributes have changed.

    Hooks are not run, and what ``forward`` decides by the values of weights is decided once.

    Args:
        network: maps intensities (B, C, H, W), and a condition (B, c, H, W) if there is one, to logits (B, K, C, H, W).
        channels: image channels C.
        levels: intensity levels K per channel.
        condition: features c of the condition, 0 for none.
        method: of the network, the method to trace.

    Raises:
        InputError: what a module computes cannot be computed position by position, or sees the sub-pixel to be drawn.
    """
    network = getattr(network, "_orig_mod", network)  # within torch.compile's module
    asked = channels, levels, condition, method, _fingerprint(network)
    before, program = _programs.get(network, (None, None))
    if program is None or not _equal(before, asked):
        with _without_shape_checks():
            program = _Tracer(network, channels, levels, condition).program(method)
        _programs[network] = asked, program
    return program


_programs: WeakKeyDictionary[nn.Module, tuple[Any, Program]] = WeakKeyDictionary()
_shape_checks = RLock()
_BOOKKEEPING = frozenset(vars(nn.Module())) - {"training"}
_PLAIN = frozenset({bool, int, float, str, type(None)})


def _fingerprint(network: nn.Module) -> list[Any]:
    """Changes with the modules and their attributes, on which a trace may depend, but not with the weights."""
    return [(name, ref(module), _attributes(module)) for name, module in network.named_modules(remove_duplicate=False)]


def _attributes(module: nn.Module) -> dict[str, Any]:
    own = vars(module).items()
    return {k: v if type(v) in _PLAIN else _stand_for(v) for k, v in own if k not in _BOOKKEEPING}


def _stand_for(value: Any) -> Any:
    """What is equal while the value is, and does not keep it alive: it may refer to the network."""
    if type(value) in (tuple, list):
        return [each if type(each) in _PLAIN else _stand_for(each) for each in value]
    if type(value) is dict:
        return {key: _stand_for(each) for key, each in value.items()}
    try:
        return value if type(value) in _PLAIN else ref(value)
    except TypeError:
        return value


def _equal(a: Any, b: Any) -> bool:
    try:
        return bool(a == b)
    except Exception:  # different tensors, say
        return False


@contextmanager
def _without_shape_checks() -> Iterator[None]:
    # To jaxtyping, if it checks, a proxy is no Tensor. Its switch is one for all threads, so they take turns.
    with _shape_checks:
        before = jaxtyping.config.jaxtyping_disable
        jaxtyping.config.update("jaxtyping_disable", True)
        try:
            yield
        finally:
            jaxtyping.config.update("jaxtyping_disable", before)


_LAYERS = (MaskedConv2d, RowLSTM, DiagonalBiLSTM, nn.Conv2d)
_RUN = (nn.Sequential, nn.Identity, nn.ReLU, nn.Unflatten, nn.modules.dropout._DropoutNd)  # other modules of torch.nn
_SAME = {
    *(f"dropout{n}" for n in ("", "1d", "2d", "3d")),
    "alpha_dropout",
    "feature_alpha_dropout",
    "by_position",
}
_UNKNOWN = "a map or its shape, which are not known while forward is traced"


class _Proxy(Proxy):
    def __iadd__(self, other: Any) -> Proxy:  # which torch.fx takes for +
        return self.tracer.create_proxy("call_function", operator.iadd, (self, other), {})

    def __len__(self) -> int:
        return self.tracer.to_bool(self)


class _Tracer(GraphAppendingTracer):
    def __init__(self, network: nn.Module, channels: int, levels: int, condition: int) -> None:
        super().__init__(Graph())
        self.network, self.channels, self.levels = network, channels, levels
        self.pixel = logits_per_channel(levels), channels  # its logits
        self.place = type(network).__name__
        self.stand_ins: dict[nn.Module, nn.Module] = {}
        self.steps: list[Step] = []
        # Of each map: the last channel of its own pixel that each feature sees, -1 for none; whether it sees the image.
        self.sees = [np.arange(channels)] + [np.full(condition, -1)] * (condition > 0)
        self.of_image = [True, False][: len(self.sees)]
        self.inputs = len(self.sees)
        self.maps: dict[Node, int] = {}
        self.logits: dict[Node, int] = {}

    def program(self, method: str) -> Program:
        """Runs the network."""
        given = [self.create_proxy("placeholder", name, (), {}) for name in ("x", "condition")[: self.inputs]]
        self.maps |= {proxy.node: number for number, proxy in enumerate(given)}
        try:
            result = self._in("", lambda: getattr(self.stand_in(self.network, ""), method)(*given))
        finally:
            for stand_in in self.stand_ins.values():
                vars(stand_in).clear()  # it refers to itself, and to the weights
        if not (isinstance(result, Proxy) and result.node in self.logits):
            self._fail(f"{method} must return logits (B, K, C, H, W): end with unflatten(1, {self.pixel})")
        last = self.logits[result.node]
        if not isinstance(self.steps[last - self.inputs], Convolution):
            last = self._step(Convolution(last), self.sees[last])
        return self._needed(last)

    def stand_in(self, module: nn.Module, name: str) -> nn.Module:
        """A copy of a module, and of all in it, without hooks; the tracer decides what happens when it is called."""
        if module not in self.stand_ins:
            copy = self.stand_ins[module] = object.__new__(type(module))
            vars(copy).update(vars(module), forward=partial(self._in, name, self._call, name, module, copy))
            vars(copy).update({key: {} for key in _BOOKKEEPING if key.endswith("_hooks")})
            vars(copy).pop("_compiled_call_impl", None)
            vars(copy)["_modules"] = {
                key: child if child is None else self.stand_in(child, f"{name}.{key}".lstrip("."))
                for key, child in module._modules.items()
            }
        return self.stand_ins[module]

    def _call(self, name: str, module: nn.Module, stand_in: nn.Module, *args: Any, **kwargs: Any) -> Any:
        kind = type(module)
        layer = next((layer for layer in _LAYERS if isinstance(module, layer)), kind)
        if "forward" in vars(module) or kind.forward is not layer.forward:
            self._refuse(f"{kind.__name__}, whose forward is its own,")
        if layer in _LAYERS:
            given = signature(kind.forward).bind(module, *args, **kwargs).arguments
            del given["self"]
            return self.create_proxy("call_module", name, (), given)
        if kind.__module__.startswith("torch.nn.modules") and not isinstance(module, _RUN):
            self._refuse(kind.__name__)
        return kind.forward(stand_in, *args, **kwargs)

    def _in(self, name: str, run: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Runs something in a module, which errors then name."""
        before, self.place = self.place, name or self.place
        try:
            return run(*args, **kwargs)
        except InputError:
            raise
        except Exception as error:
            said = f"{self.place} cannot be traced: {type(error).__name__}: {error}"
            raise InputError(said.splitlines()[0]) from error
        finally:
            self.place = before

    def _fail(self, message: str) -> NoReturn:
        raise InputError(f"{self.place}: {message}")

    def _refuse(self, what: str, use: str = "MaskedConv2d, RowLSTM, DiagonalBiLSTM, +, torch.cat, relu") -> NoReturn:
        self._fail(f"{what} cannot be computed position by position; use {use}")

    # What torch.fx calls.

    def proxy(self, node: Node) -> Proxy:
        return _Proxy(node, self)

    def to_bool(self, obj: Proxy) -> bool:
        self._fail(f"a branch on {_UNKNOWN}; branch on attributes of the module")

    def iter(self, obj: Proxy) -> Iterator[Any]:
        self._fail(f"a loop over {_UNKNOWN}")

    def create_arg(self, a: Any) -> Any:
        if isinstance(a, Tensor):
            self._fail(f"a {type(a).__name__} is not a map; only maps are added and concatenated")
        return super().create_arg(a)

    def create_node(
        self, kind: str, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], *names: Any, **more: Any
    ) -> Node:
        node = super().create_node(kind, target, args, kwargs, *names, **more)
        if kind == "placeholder":
            return node
        if kind == "call_module":
            self.maps[node] = self._layer(target, **kwargs)
            return node
        match called := target if isinstance(target, str) else target.__name__:
            case "add" | "add_" | "iadd":
                self.maps[node] = self._add(*args, **kwargs)
            case "relu" | "relu_":
                self.maps[node] = self._relu(*args)
            case "cat" | "concat" | "concatenate":
                self.maps[node] = self._cat(*args, **kwargs)
            case "unflatten":
                self.logits[node] = self._unflatten(*args, **kwargs)
            case _ if called in _SAME:
                self.maps[node] = self._map(*args[:1])
            case _:
                self._refuse(f".{args[1]}" if target is getattr else f"the operation {called}")
        if called in ("add_", "iadd", "relu_") or kwargs.get("inplace"):
            before = self._map(*args[:1])
            self.maps |= {other: self.maps[node] for other, number in self.maps.items() if number == before}
        return node

    # The steps, of the nodes of maps.

    def _map(self, x: Any, features: int | None = None) -> int:
        if not isinstance(x, Node):
            self._fail(f"{x!r} is not a map; only maps are added and concatenated")
        if x in self.logits:
            self._refuse("what follows unflatten()")
        found = len(self.sees[self.maps[x]])
        if features not in (None, found):
            self._fail(f"a map has {found} features, expected {features}")
        return self.maps[x]

    def _add(self, x: Any, other: Any, *, alpha: float = 1) -> int:
        if type(x) is int and x == 0:  # where sum() begins
            return self._map(other)
        if alpha != 1:
            self._refuse(f"add(alpha={alpha})")
        number = self._map(x)
        y = self._map(other, len(self.sees[number]))
        return self._step(Convolution(number, y), np.maximum(self.sees[number], self.sees[y]))

    def _relu(self, x: Any) -> int:
        number = self._map(x)
        return self._step(Relu(number), self.sees[number])

    def _cat(self, tensors: Any, dim: int = 0) -> int:
        if dim not in (1, -3):
            self._refuse(f"cat(dim={dim})", "dim=1")
        return reduce(self._concatenate, map(self._map, tensors))

    def _concatenate(self, x: int, y: int) -> int:
        return self._step(Concatenate(x, y), np.concatenate([self.sees[x], self.sees[y]]))

    def _unflatten(self, x: Any, dim: int, sizes: Any) -> int:
        logits, channels = self.pixel
        number = self._map(x, logits * channels)
        if number < self.inputs or dim not in (1, -3) or tuple(sizes) not in (self.pixel, (-1, channels), (logits, -1)):
            self._refuse(f"unflatten({dim}, {tuple(sizes)})", f"unflatten(1, {self.pixel}) for the logits")
        return number

    def _layer(self, name: str, **given: Any) -> int:
        layer: Any = self.network.get_submodule(name)
        if isinstance(layer, MaskedConv2d):
            return self._masked(layer, **given)
        if isinstance(layer, nn.Conv2d):
            return self._unmasked(layer, *given.values())
        return self._line_lstm(layer, **given)

    def _masked(self, layer: MaskedConv2d, x: Any, *, relu: bool = False, plus: Any = None) -> int:
        number = self._map(x, layer.in_channels)
        sees, y = self._seen(number, layer), None
        if plus is not None:
            y = self._map(plus, layer.out_channels)
            sees = np.maximum(sees, self.sees[y])
        return self._step(Convolution(self._relu(x) if relu else number, y, layer.margin, ref(layer)), sees)

    def _unmasked(self, layer: nn.Conv2d, x: Any) -> int:
        number = self._map(x, layer.in_channels)
        if self.of_image[number]:
            self._refuse("Conv2d of a map that depends on the image", 'MaskedConv2d("B", …)')
        if (layer.kernel_size, layer.stride, layer.groups) != ((1, 1), (1, 1), 1) or layer.padding != (0, 0):
            self._refuse(f"a condition's {layer}", "a 1×1 convolution, or its result as the condition")
        return self._step(Convolution(number, layer=ref(layer)), np.full(layer.out_channels, -1))

    def _line_lstm(self, layer: Any, x: Any, condition: Any = None) -> int:
        input_to_state, conditional = layer.input_to_state, layer.state_to_state.condition
        number = self._map(x, input_to_state.in_channels)
        hidden = input_to_state.out_channels // (4 * layer.directions)
        sees = self._seen(number, input_to_state).reshape(-1, hidden).max(axis=0)  # of all directions' gates
        if condition is not None and conditional is not None:
            y = self._map(condition, conditional.in_channels)
            if self.of_image[y]:
                self._refuse("a condition that depends on the image", "torch.cat with x")
            number = self._concatenate(number, y)
        elif condition is not None or conditional is not None:
            self._fail("a condition is missing" if condition is None else "expected no condition")
        # A direction whose states move down reads a row of x when it is complete. Its states it keeps itself.
        lines = LAYERS[layer.layer](1, 1)
        above = max(di for di, _ in lines.outputs)
        beside = max(abs(dj) for offsets in lines.inputs for _, dj in offsets)
        return self._step(LineLSTM(number, None, (above, beside), layer=ref(layer), kind=layer.layer), sees)

    def _seen(self, x: int, layer: MaskedConv2d) -> npt.NDArray[np.int64]:
        """What the features of a masked convolution of map x see."""
        centre = layer.mask[:, :, layer.margin[0], layer.margin[1]]
        return np.where((centre != 0).numpy(force=True), self.sees[x], -1).max(axis=1)

    def _step(self, step: Step, sees: npt.NDArray[np.int64]) -> int:
        """Adds a step, no feature of which may see its own sub-pixel or a later one."""
        own = np.arange(len(sees)) % self.channels
        if (wrong := np.flatnonzero(sees >= own)).size:
            k, all_layers = wrong[0], f"channels={self.channels}"
            use = f'let MaskedConv2d("A", …, {all_layers}) read the image'
            if 0 not in step.reads:
                use = f"give all layers {all_layers}, and multiples of {self.channels} features to torch.cat"
            self._fail(f"feature {k}, of channel {own[k]}, sees channel {sees[k]} of the pixel that is drawn; {use}")
        self.steps.append(step)
        self.sees.append(sees)
        self.of_image.append(any(self.of_image[read] for read in step.reads))
        return len(self.sees) - 1

    def _needed(self, last: int) -> Program:
        """The steps that the last one depends on. A map that only an addition reads is made with it."""
        steps = dict(enumerate(self.steps, start=self.inputs))
        readers = Counter(read for step in self.steps for read in step.reads)
        for number, step in steps.items():
            if step.y is not None and step == Convolution(step.x, step.y):
                for read, y in ((step.y, step.x), (step.x, step.y)):
                    made = steps.get(read)
                    if isinstance(made, Convolution) and made.y is None and readers[read] == 1:
                        steps[number] = replace(made, y=y)
                        break
        needed = {last}
        for number in reversed(steps):
            needed.update(steps[number].reads if number in needed else [])
        numbers = [*range(self.inputs), *(number for number in steps if number in needed)]
        new = {number: n for n, number in enumerate(numbers)}
        kept = [steps[number] for number in numbers[self.inputs :]]
        renumbered = (replace(step, x=new[step.x], y=None if step.y is None else new[step.y]) for step in kept)
        return Program(self.channels, self.levels, tuple(len(self.sees[n]) for n in numbers), tuple(renumbered))
