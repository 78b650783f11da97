"""``python -m pixelrnn.ops`` compiles the C++ where there was no compiler when the package was installed."""

import sys

from pixelrnn.ops.build import BuildError, build

try:
    print("\n".join(map(str, build())))
except (BuildError, OSError) as error:
    sys.exit(f"pixelrnn.ops: {error}")
