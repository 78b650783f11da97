"""Whole training steps, measured: every backend beside the usual ways to write a PixelRNN, and beside what is possible.

Each variant has a process of its own, so that its memory can be told and no allocator learns from another. The variants
take turns, a few steps each, so that a busy machine slows down all of them alike. We time a variant only after its loss
and gradients match the reference in float64.
"""

from pixelrnn.bench.measure import Measurement, measure, table, time_exponent
from pixelrnn.bench.variants import Task, Variant

__all__ = ["Measurement", "Task", "Variant", "measure", "table", "time_exponent"]
