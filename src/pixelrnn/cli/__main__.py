"""``python -m pixelrnn.cli``."""

import sys

from pixelrnn.cli import main

sys.exit(main())
