"""``python -m pixelrnn.ops`` compiles the C++, for example after an installation without a compiler."""

import sys

from pixelrnn.ops.build import BuildError, build

try:
    print("\n".join(map(str, build())))
except (BuildError, OSError) as error:
    sys.exit(f"pixelrnn.ops: {error}")
