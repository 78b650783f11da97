"""The command ``pixelrnn``, also ``python -m pixelrnn``. Ctrl-C ends it quietly while it still imports, too."""

import sys


def main() -> int:
    """See `pixelrnn.cli.main`, which handles Ctrl-C from its start on."""
    try:
        from pixelrnn.cli import main

        return main()
    except KeyboardInterrupt:
        print("pixelrnn: stopped by SIGINT", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
