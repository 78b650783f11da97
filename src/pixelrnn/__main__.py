"""The command ``pixelrnn``, also ``python -m pixelrnn``. Ctrl-C ends it quietly even during its imports."""

import sys


def main() -> int:
    """Runs `pixelrnn.cli.main`, and handles Ctrl-C until that function does."""
    try:
        from pixelrnn.cli import main
        from pixelrnn.processes import end

        status = main()
        end(status)
        return status
    except KeyboardInterrupt:
        print("pixelrnn: stopped by SIGINT", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
