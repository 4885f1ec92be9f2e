"""A picture of the top of a page, for docs/: ``python tests/page/screenshot.py PAGE.html docs/images/report.png``."""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

from PIL import Image

MOST_BYTES = 150_000
COLOURS = 96
"""Enough for text and lines; a photograph would be another matter."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path)
    parser.add_argument("png", type=Path)
    parser.add_argument("--width", type=int, default=1120)
    parser.add_argument("--height", type=int, default=1000)
    parser.add_argument("--from", dest="top", metavar="ID", help="the part that the picture begins with")
    options = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parent.parent))
    from page.browser import chromium, shown

    with (
        chromium() as browser,
        shown(browser, options.page.resolve(), options.width, False, options.height) as (page, _),
    ):
        if options.top is not None:
            page.locator(f"#{options.top}").evaluate("(one) => one.scrollIntoView()")
        picture = Image.open(io.BytesIO(page.screenshot()))
    few = picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    few.save(options.png, optimize=True)
    size = options.png.stat().st_size
    print(f"{options.png}: {size:,} bytes")
    return 0 if size < MOST_BYTES else 1


if __name__ == "__main__":
    sys.exit(main())
