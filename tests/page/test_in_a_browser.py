"""A page in a real browser, where Chromium is installed: nothing is wider than the screen, no text of a plot is cut."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from page.reading import opened
from raybench.page.build import page_of
from raybench.page.parts import Limits
from raybench.page.rendering import html_of

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MEASURING = """
<script>
const box = (one) => one.getBoundingClientRect();
const outside = (one, all) => one.width > 0 && (one.left < all.left - 1 || one.right > all.right + 1
    || one.top < all.top - 1 || one.bottom > all.bottom + 1);
const told = {
  wider: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  width: document.documentElement.clientWidth,
  cut: [...document.querySelectorAll('svg')].flatMap((svg) =>
    [...svg.querySelectorAll('text')].filter((text) => outside(box(text), box(svg))).map((text) => text.textContent)),
  paper: getComputedStyle(document.body).backgroundColor,
  requests: performance.getEntriesByType('resource').length,
};
const shown = document.createElement('pre');
shown.id = 'told';
shown.textContent = JSON.stringify(told);
document.body.append(shown);
</script>
"""


def seen(page: str, folder: Path, width: int, dark: bool) -> Any:
    """What `MEASURING` finds in the page, with its own policy of running nothing taken out."""
    assert CHROMIUM is not None
    file = folder / "page.html"
    open_page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    file.write_text(open_page.replace("</body>", f"{MEASURING}</body>"))
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND"]
    command += [f"--user-data-dir={folder / 'profile'}", f"--window-size={width},900", "--hide-scrollbars"]
    command += [f"--blink-settings=preferredColorScheme={0 if dark else 1}", "--dump-dom", file.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = re.search(r'<pre id="told">(.*?)</pre>', done.stdout)
    assert found is not None
    return json.loads(html.unescape(found[1]))


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
@pytest.mark.parametrize(("width", "dark"), [(360, False), (360, True), (1400, False), (1400, True)])
@pytest.mark.parametrize("name", ["of_classifiers", "of_a_language_model", "of_servers", "of_which_one_failed"])
def test_all_of_a_page_is_seen(
    name: str, width: int, dark: bool, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    page = html_of(page_of(opened(request.getfixturevalue(name)), None, Limits()))
    found = seen(page, tmp_path, width, dark)
    assert found["cut"] == []
    assert found["wider"] <= 0
    assert found["requests"] == 0
    assert found["paper"] == ("rgb(22, 24, 26)" if dark else "rgb(255, 255, 255)")
