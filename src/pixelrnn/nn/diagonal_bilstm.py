"""The Diagonal BiLSTM (paper §3.2)."""

from pixelrnn.nn.line_lstm import LineLSTM


class DiagonalBiLSTM(LineLSTM):
    """Two LSTMs that scan an image from its upper corners, each diagonal at once (§3.2).

    A line is a diagonal i + j = t: all its positions are computed at once from the diagonal before. Kis ⊛ x is a masked
    1×1 convolution. Kss ⊛ h₋ reads the pixel above and the pixel to the left: two neighbours in one column of the
    paper's skewed map. c₋ is the cell to the left.

    The second direction is the mirror image, with its own weights: it reads the pixel above and the pixel to the
    *right*. Its state at (i, j) has seen the later pixel (i, j + 1). So its output moves down one row before the two
    directions are added: (i, j) gets the mirror's state of (i − 1, j).

    Maps (B, in_features, H, W) to (B, hidden, H, W), for any H and W. The output at a pixel depends on the input at
    that pixel (its own channel and the ones before) and at every earlier pixel. A neighbour outside the image holds the
    learned initial state of its direction. Arguments and errors as in `LineLSTM`.
    """

    layer = "diagonal"
    kernel = 1
    directions = 2
    taps = 2
