"""What the built wheel carries."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
SHIPPED = {".py", ".toml", ".sql", ".json", ".csv", ".html", ".md", ".css"}


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        str(folder),
        str(REPOSITORY),
    ]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


def test_the_wheel_carries_plans_sql_shapes_and_lengths(unpacked: Path) -> None:
    source = REPOSITORY / "src" / "raybench"
    expected = {p.relative_to(source) for p in source.rglob("*") if p.suffix in SHIPPED}
    found = {p.relative_to(unpacked / "raybench") for p in (unpacked / "raybench").rglob("*") if p.is_file()}
    assert expected <= found
    assert {p.suffix for p in found} == SHIPPED


def test_it_runs_outside_the_checkout(unpacked: Path, tmp_path: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(unpacked)!r}); import raybench; from raybench.cli import main;"
        f"assert raybench.__file__.startswith({str(unpacked)!r}); sys.exit(main(['plan', 'rq2']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "29 configurations in 11 blocks" in done.stdout


def test_reading_results_needs_neither_ray_nor_torch(unpacked: Path, tmp_path: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(unpacked)!r}); import raybench.report, raybench.decide, raybench.compare;"
        "import raybench.page.build;"
        "print(sorted({'ray', 'torch', 'transformers', 'peft'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
