"""The command ``pixelrnn``, also ``python -m pixelrnn``. Ctrl-C ends it quietly even during its imports."""

import sys


def main() -> int:
    """Runs `pixelrnn.cli.main`, and handles Ctrl-C until that function does."""
    try:
        from pixelrnn.cli import main

        return main()
    except KeyboardInterrupt:
        print("pixelrnn: stopped by SIGINT", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
