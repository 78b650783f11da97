"""Measures whole training steps: every backend beside the usual ways to write a PixelRNN, and the bare arithmetic.

Each variant has its own process, so we can measure its memory, and no allocator profits from another variant. The
variants take turns of a few steps, so a busy machine slows all of them alike. We time a variant only after its loss and
gradients match the reference in float64.
"""

from pixelrnn.bench.measure import Measurement, measure, table, time_exponent
from pixelrnn.bench.together import Together, measure_together, table_together
from pixelrnn.bench.variants import Task, Variant

__all__ = [
    "Measurement",
    "Task",
    "Together",
    "Variant",
    "measure",
    "measure_together",
    "table",
    "table_together",
    "time_exponent",
]
