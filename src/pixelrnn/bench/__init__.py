"""Whole training steps, measured: every backend beside the usual ways to write a PixelRNN, and beside what is possible.

Each variant has a process of its own, so that its memory can be told and no allocator learns from another; they take
turns, a few steps each, so that a busy machine slows down all of them alike. Before anything is timed, every variant's
loss and gradients are compared with the reference in float64.
"""

from pixelrnn.bench.measure import Measurement, measure, time_exponent
from pixelrnn.bench.variants import Task, Variant

__all__ = ["Measurement", "Task", "Variant", "measure", "time_exponent"]
