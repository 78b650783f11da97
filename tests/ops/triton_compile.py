"""Compiles the Triton kernels for an H100, without a GPU: the compiler refuses more than the interpreter."""

from itertools import product

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from pixelrnn.ops.lines import LAYERS
from pixelrnn.ops.triton import SIZES, _scan, _scan_backward

ROWS, COLUMNS, DEPTH, WARPS = 64, 32, 128, 8  # sizes that differ, so that shapes cannot agree by chance

for kernel, make in product((_scan, _scan_backward), LAYERS.values()):
    lines = make(3, 4)
    fixed = {"D": len(lines.taps), "T": len(lines.shifts), "CELL": lines.cell, "h": 128, "PRECISION": "bf16"}
    fixed |= {"ROWS": ROWS, "COLUMNS": COLUMNS, "DEPTH": DEPTH}
    kinds = dict.fromkeys(kernel.arg_names, "*fp32") | dict.fromkeys(fixed, "constexpr") | dict.fromkeys(SIZES, "i32")
    kinds |= {"weight": "*bf16", "d_gates": "*bf16", "geometry": "*i32"}
    source = ASTSource(
        fn=kernel,
        signature={each: kinds[each] for each in kernel.arg_names},
        constexprs={(kernel.arg_names.index(each),): value for each, value in fixed.items()},
    )
    triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": WARPS})
