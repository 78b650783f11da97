"""The Row LSTM (paper §3.1)."""

from pixelrnn.nn.line_lstm import LineLSTM


class RowLSTM(LineLSTM):
    """An LSTM that scans an image row by row, each row at once (§3.1).

    A line is a row: all its positions are computed at once from the row above. Kis ⊛ x is a masked 3×1 convolution
    along the row. Kss ⊛ h₋ is an unmasked 3×1 convolution over the row above; c₋ is the cell straight above.

    Maps (B, in_features, H, W) to (B, hidden, H, W), for any H and W. The output at a pixel in column j depends on the
    input at that pixel (its own channel and the ones before), at the pixel to its left, and in the triangle above. The
    triangle spans the columns j − d − 1 to j + d, d rows up. A neighbour outside the image holds the learned initial
    state. Arguments and errors as in `LineLSTM`.
    """

    layer = "row"
    kernel = 3
    directions = 1
    taps = 3
