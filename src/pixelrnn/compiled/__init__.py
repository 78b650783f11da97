"""C++ for the CPU, built on first use: the recurrence (scan.h) and the 1×1 convolutions between (linear.h)."""

from pixelrnn.compiled.build import BuildError, operators

__all__ = ["BuildError", "operators"]
