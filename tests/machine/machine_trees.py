"""A folder of the files of a machine on which nothing would spoil a measurement, but for what a test changes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from raybench.machine.findings import Tree

CPU = "sys/devices/system/cpu"
HUGE_PAGES = "sys/kernel/mm/transparent_hugepage/enabled"
SOUND: Mapping[str, str] = {
    "proc/self/status": "Name:\tpython\nCapEff:\t000001fffeffffff\nCpus_allowed_list:\t0-1\n",
    "proc/self/limits": "Limit   Soft Limit  Hard Limit  Units\nMax nice priority   0    0\n",
    "proc/self/cgroup": "0::/pod/container\n",
    "proc/meminfo": "MemTotal:       8000000 kB\nSwapTotal:      2000000 kB\nSwapFree:       2000000 kB\n",
    "proc/stat": "cpu  100 0 50 800 10 0 0 0 0 0\ncpu0 50 0 25 400 5 0 0 0 0 0\ncpu1 50 0 25 400 5 0 0 0 0 0\nctxt 7\n",
    "proc/vmstat": "nr_free_pages 9\npswpin 3\npswpout 4\n",
    "sys/fs/cgroup/pod/container/cpu.max": "max 100000\n",
    "sys/fs/cgroup/pod/container/cpu.stat": "usage_usec 5\nnr_throttled 0\nthrottled_usec 0\n",
    "sys/fs/cgroup/pod/cpu.max": "max 100000\n",
    f"{CPU}/online": "0-1\n",
    f"{CPU}/intel_pstate/no_turbo": "1\n",
    **{f"{CPU}/cpu{core}/cpufreq/scaling_governor": "performance\n" for core in (0, 1)},
    **{f"{CPU}/cpu{core}/topology/thread_siblings_list": f"{core}\n" for core in (0, 1)},
    HUGE_PAGES: "always [madvise] never\n",
}


def machine_tree(folder: Path, files: Mapping[str, str | None] | None = None) -> Tree:
    """Its files, with those of ``files`` in their place; None: not there."""
    for name, text in {**SOUND, **(files or {})}.items():
        if text is not None:
            place = folder / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
    return Tree(folder)
