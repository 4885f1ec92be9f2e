"""``raybench``, also ``python -m raybench``: Ctrl-C ends it in one line while it is still being imported, too."""

from __future__ import annotations

import sys


def main() -> int:
    """Exit code: that of `raybench.cli.main`."""
    try:
        from raybench.cli import main as command
    except KeyboardInterrupt:
        if sys.stderr is not None:
            sys.stderr.write("raybench: interrupted\n")
        return 130
    return command()


if __name__ == "__main__":
    sys.exit(main())
