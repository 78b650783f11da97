"""The yardstick: the network as others usually write it, with the parameters of a `PixelRNN`.

The code pads the map with zeros, skews it, and loops over its columns (or rows). Each step convolves the states of the
column before, and autograd does the rest. The sliced form cuts each line out of the whole map, as public
implementations do. The backward pass of a slice is a whole map of zeros, so a step costs lines × map. The fair form
splits the map once (`unbind`), which costs one map.

Outside the image this code has zeros, and our layers have a learned state: both agree while that state is zero.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from pixelrnn.models import PixelRNN
from pixelrnn.nn import MaskedConv2d, skew, unskew


def logits(model: PixelRNN, intensities: Float[Tensor, "B C H W"], *, sliced: bool) -> Float[Tensor, "B logits C H W"]:
    """Computes the same as `PixelRNN.logits`, for models of Row LSTM or Diagonal BiLSTM layers."""
    convolutions = {name: m for name, m in model.named_modules() if isinstance(m, MaskedConv2d)}
    states = {name: p for name, p in model.named_parameters() if "state_to_state" in name}

    def conv(name: str, x: Tensor) -> Tensor:
        layer = convolutions[name]
        return F.conv2d(x, layer.weight * layer.mask, layer.bias, padding=layer.padding)

    x = conv("first", intensities)
    to_output = torch.zeros(())
    for n in range(len(model.blocks)):
        lstm = f"blocks.{n}.transform.0"
        gates, weight = conv(f"{lstm}.input_to_state", x), states[f"{lstm}.state_to_state.weight"]
        if len(weight) == 2:
            left, right = gates.chunk(2, dim=1)
            h = unskew(_scan(skew(left), weight[0], padding=(1, 0), sliced=sliced))
            mirror = unskew(_scan(skew(right.flip(-1)), weight[1], padding=(1, 0), sliced=sliced)).flip(-1)
            h = h + F.pad(mirror[:, :, :-1], (0, 0, 1, 0))
        else:
            h = _scan(gates.transpose(2, 3), weight[0], padding=(1, 1), sliced=sliced).transpose(2, 3)
        x = x + conv(f"blocks.{n}.transform.1", h)
        to_output = to_output + conv(f"skips.{n}", x)
    y = conv("head.layers.1", conv("head.layers.0", F.relu(to_output)).relu())
    return y.unflatten(1, (-1, model.channels))


def _scan(gates: Tensor, weight: Tensor, *, padding: tuple[int, int], sliced: bool) -> Tensor:
    """An LSTM over the columns of (B, 4h, n, V); `weight` (T, h, 4h) convolves the states of the column before."""
    batch, features, n, columns = gates.shape
    kernel = weight.permute(2, 1, 0)
    h = c = gates.new_zeros(batch, features // 4, n)
    outputs = []
    for x in [gates[:, :, :, t] for t in range(columns)] if sliced else gates.unbind(3):
        o, f, i, g = (x + F.conv1d(F.pad(h, padding), kernel)).chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        outputs.append(h)
    return torch.stack(outputs, dim=3)
