#!/usr/bin/env bash
# axe-core 4.14.1 on a page with a plot of matplotlib 3.11.2: text of the plot that nobody can read is no violation.
#
# One would expect pale words in a plot to be found as pale words beside it are. The rule color-contrast takes an SVG for a
# picture whose colours it does not know: its texts are "incomplete", for a person to look at, and a check that counts violations passes.
# With matplotlib's default, letters as paths, they are not even that.
#
# Seen, with Chromium 150.0.7871.100 (of the system), axe-core 4.14.1, playwright==1.65.2, matplotlib==3.11.2:
#     letters as text:  violations: the paragraph; incomplete: the 11 texts of the plot
#     letters as paths: violations: the paragraph; incomplete: none
# Exits 1 where it behaves otherwise. Needs npm and a Chromium on the PATH.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet matplotlib==3.11.2 playwright==1.65.2
cd "$folder"
npm pack --silent axe-core@4.14.1 > npm.log
tar xzf axe-core-4.14.1.tgz
CHROMIUM=$(command -v chromium || command -v chromium-browser || command -v google-chrome) venv/bin/python - <<'PYTHON'
import io
import os
import sys
from pathlib import Path

import matplotlib
from playwright.sync_api import sync_playwright

matplotlib.use("svg")
from matplotlib import pyplot

PALE = "#eeeeee"
CONTRAST = """async () => {
  const found = await axe.run({runOnly: ['color-contrast']});
  const nodes = (kind) => found[kind].flatMap((rule) => rule.nodes.map((node) => node.html.slice(1, 5)));
  return [nodes('violations'), nodes('incomplete')];
}"""


def page_with_plot(letters):
    matplotlib.rcParams["svg.fonttype"] = letters
    figure, axes = pyplot.subplots(figsize=(4, 2))
    axes.plot([1, 2, 3])
    axes.set_title("pale words", color=PALE)
    svg = io.StringIO()
    figure.savefig(svg, format="svg")
    pyplot.close(figure)
    plot = svg.getvalue()[svg.getvalue().index("<svg") :]
    return (
        '<!DOCTYPE html><html lang="en"><head><title>A page</title></head><body style="background: #fff"><main>'
        f'<h1>A page</h1><p style="color: {PALE}">pale words</p>{plot}</main></body></html>'
    )


seen = {}
with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=os.environ["CHROMIUM"], args=["--no-sandbox"])
    print(f"Chromium {browser.version}")
    for letters, name in (("none", "text"), ("path", "paths")):
        page = browser.new_page()
        page.set_content(page_with_plot(letters))
        page.evaluate(Path("package/axe.min.js").read_text("utf-8"))
        violations, incomplete = page.evaluate(CONTRAST)
        seen[name] = violations, sum(node == "text" for node in incomplete)
        print(f"letters as {name}: violations: {violations}; incomplete: {seen[name][1]} texts of the plot")
    browser.close()
of_text, of_paths = seen["text"], seen["paths"]
only_the_paragraph = all(len(violations) == 1 and violations[0].startswith("p ") for violations, _ in seen.values())
sys.exit(0 if only_the_paragraph and of_text[1] >= 1 and of_paths[1] == 0 else 1)
PYTHON
