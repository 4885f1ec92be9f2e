"""``python -m raybench.sweep``."""

import sys

from raybench.sweep.command import main

if __name__ == "__main__":
    sys.exit(main())
