"""Each check finds the fault that was put into the files of a sound machine, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from machine.machine_trees import CPU, HUGE_PAGES, machine_tree
from raybench.machine.doctor import examine_steady
from raybench.machine.findings import Finding, Tree, cores_of, doctor_notice, kept, listed

QUOTA = "have it lifted (cpu.max: max; docker without --cpus; no CPU limit of the pod); give whole cores by a cpuset"
PRIORITY = (
    "start Ray as root (in a container with SYS_NICE), or after ulimit -e 30; ulimit -r 1 (limits.conf: nice -10, "
    "rtprio 1)"
)
V1 = "4:cpu,cpuacct:/docker/abc\n3:memory:/docker/abc\n0::/docker/abc\n"

FAULTS: dict[str, tuple[dict[str, str | None], Finding]] = {
    "a governor that follows the load": (
        {f"{CPU}/cpu1/cpufreq/scaling_governor": "powersave"},
        Finding(
            "governor",
            "caution",
            "powersave on 1 of 2 cores: their clock follows the load",
            "cpupower frequency-set -g performance",
        ),
    ),
    "turbo of Intel": (
        {f"{CPU}/intel_pstate/no_turbo": "0"},
        Finding(
            "boost",
            "caution",
            "on: the clock depends on heat and on what other cores do",
            f"echo 1 > /{CPU}/intel_pstate/no_turbo, as root",
        ),
    ),
    "boost of others": (
        {f"{CPU}/intel_pstate/no_turbo": None, f"{CPU}/cpufreq/boost": "1"},
        Finding(
            "boost",
            "caution",
            "on: the clock depends on heat and on what other cores do",
            f"echo 0 > /{CPU}/cpufreq/boost, as root",
        ),
    ),
    "threads of one core": (
        {f"{CPU}/cpu{core}/topology/thread_siblings_list": "0-1" for core in (0, 1)},
        Finding(
            "smt",
            "caution",
            "of 2 cores 2 are threads that share a core, as 0-1",
            f"run on one of each (taskset -c 0 ...), or echo off > /{CPU}/smt/control, as root",
        ),
    ),
    "the other thread is for others": (
        {f"{CPU}/cpu0/topology/thread_siblings_list": "0,8"},
        Finding(
            "smt",
            "caution",
            "1 of 2 share a core with a thread that others may use, as 0,8",
            f"leave those idle, or echo off > /{CPU}/smt/control, as root",
        ),
    ),
    "one core of two": (
        {"proc/self/status": "CapEff:\t000001fffeffffff\nCpus_allowed_list:\t1\n"},
        Finding(
            "cores",
            "caution",
            "1 of 2 may be used: what measures shares it with what is measured",
            "allow another: taskset, cpuset.cpus, docker --cpuset",
        ),
    ),
    "a quota": (
        {"sys/fs/cgroup/pod/container/cpu.max": "150000 100000"},
        Finding(
            "quota",
            "caution",
            "1.5 cores' time a period, by /sys/fs/cgroup/pod/container; 2 may be used; stood still for 0.0 s since it "
            "began",
            QUOTA,
        ),
    ),
    "a smaller one above it": (
        {
            "sys/fs/cgroup/pod/container/cpu.max": "150000 100000",
            "sys/fs/cgroup/pod/cpu.max": "50000 100000",
            "sys/fs/cgroup/pod/cpu.stat": "throttled_usec 2500000",
        },
        Finding(
            "quota",
            "caution",
            "0.5 cores' time a period, by /sys/fs/cgroup/pod; 2 may be used; stood still for 2.5 s since it began",
            QUOTA,
        ),
    ),
    "a quota of version 1, in a container": (
        {
            "proc/self/cgroup": V1,
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "20000",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
            "sys/fs/cgroup/cpu,cpuacct/cpu.stat": "nr_periods 9\nthrottled_time 3000000000",
        },
        Finding(
            "quota",
            "caution",
            "0.2 cores' time a period, by /sys/fs/cgroup/cpu,cpuacct; 2 may be used; stood still for 3.0 s since it "
            "began",
            QUOTA,
        ),
    ),
    "no right to a priority": (
        {"proc/self/status": "CapEff:\t0000000000000000\nCpus_allowed_list:\t0-1\n"},
        Finding(
            "priority",
            "caution",
            "a visit may not take niceness -10 (RLIMIT_NICE 0) or ask servers in real time (RLIMIT_RTPRIO 0), without "
            "CAP_SYS_NICE: whatever else runs is its equal",
            PRIORITY,
        ),
    ),
    "no right to real time": (
        {
            "proc/self/status": "CapEff:\t0000000000000000\nCpus_allowed_list:\t0-1\n",
            "proc/self/limits": "Max nice priority         30                   40\n"
            "Max realtime priority     0                    0\n",
        },
        Finding(
            "priority",
            "caution",
            "a visit may not ask servers in real time (RLIMIT_RTPRIO 0), without CAP_SYS_NICE: whatever else runs is "
            "its equal",
            PRIORITY,
        ),
    ),
    "swapped out": (
        {"proc/meminfo": "SwapTotal:      2000000 kB\nSwapFree:       1500000 kB\n"},
        Finding(
            "swap",
            "caution",
            "512 MB of 2,048 MB in use",
            "end what holds the memory, then, as root: swapoff -a; swapon -a",
        ),
    ),
    "huge pages for everyone": (
        {HUGE_PAGES: "[always] madvise never"},
        Finding(
            "huge_pages",
            "caution",
            "always: pages become huge as memory allows, some while requests are served",
            f"echo madvise > /{HUGE_PAGES}, as root",
        ),
    ),
}

UNREAD: dict[str, tuple[dict[str, str | None], str, str]] = {
    "a virtual machine's governor": (
        {f"{CPU}/cpu{core}/cpufreq/scaling_governor": None for core in (0, 1)},
        "governor",
        f"/{CPU}/cpu0/cpufreq is not there: a virtual machine's host keeps it to itself",
    ),
    "one core's governor": (
        {f"{CPU}/cpu1/cpufreq/scaling_governor": None},
        "governor",
        f"/{CPU}/cpu1/cpufreq/scaling_governor: No such file or directory",
    ),
    "no boost": (
        {f"{CPU}/intel_pstate/no_turbo": None},
        "boost",
        f"neither /{CPU}/intel_pstate/no_turbo nor /{CPU}/cpufreq/boost is there: a virtual machine's host keeps them "
        "to itself",
    ),
    "no topology": (
        {f"{CPU}/cpu0/topology/thread_siblings_list": None},
        "smt",
        f"/{CPU}/cpu0/topology/thread_siblings_list: No such file or directory",
    ),
    "a list of cores that is none": ({f"{CPU}/online": "0-x"}, "cores", "/a list of cores: 'x' is no number"),
    "no groups": ({"proc/self/cgroup": None}, "quota", "/proc/self/cgroup: No such file or directory"),
    "a quota that is none": (
        {"sys/fs/cgroup/pod/cpu.max": "much 100000"},
        "quota",
        "/sys/fs/cgroup/pod/cpu.max: 'much' is no number",
    ),
    "capabilities that are none": (
        {"proc/self/status": "CapEff:\tall\nCpus_allowed_list:\t0-1\n"},
        "priority",
        "/proc/self/status: CapEff 'all' is no number",
    ),
    "no swap told": ({"proc/meminfo": "MemTotal: 1 kB"}, "swap", "/proc/meminfo does not say SwapTotal"),
    "no mode chosen": ({HUGE_PAGES: "always"}, "huge_pages", f"/{HUGE_PAGES}: no mode is chosen in it"),
}


def wrong(findings: list[Finding]) -> list[Finding]:
    """All but the disk, which is this machine's."""
    return [one for one in findings if one.state != "ok" and one.name != "disk"]


def test_a_sound_machine_has_no_faults(tmp_path: Path) -> None:
    found = examine_steady(tree=machine_tree(tmp_path))
    assert wrong(found) == []
    assert {one.name: one.found for one in found if one.name != "disk"} == {
        "governor": "performance on 2 cores",
        "boost": "off",
        "smt": "none of 2 cores shares its units with another, as far as is told",
        "cores": "2 of 2 may be used: 0-1",
        "quota": "no limit of processor time",
        "priority": "a visit may take niceness -10, and ask servers in real time",
        "swap": "0 MB of 2,048 MB in use",
        "huge_pages": "madvise: none but where a program asks",
    }


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_with_its_number_and_a_remedy(fault: str, tmp_path: Path) -> None:
    files, finding = FAULTS[fault]
    assert wrong(examine_steady(tree=machine_tree(tmp_path, files))) == [finding]


@pytest.mark.parametrize("case", UNREAD)
def test_what_cannot_be_read_is_unknown_with_why(case: str, tmp_path: Path) -> None:
    files, name, why = UNREAD[case]
    assert wrong(examine_steady(tree=machine_tree(tmp_path, files))) == [Finding(name, "unknown", why)]


def test_without_any_file_nothing_is_ok_but_the_disk(tmp_path: Path) -> None:
    found = examine_steady(tree=Tree(tmp_path))
    assert {one.state for one in found if one.name != "disk"} == {"unknown"}


def test_a_group_outside_of_what_is_mounted_is_not_looked_for_there(tmp_path: Path) -> None:
    files: dict[str, str | None] = {"proc/self/cgroup": "0::/../../elsewhere\n", "sys/fs/cgroup/cpu.max": "9 100000"}
    (found,) = wrong(examine_steady(tree=machine_tree(tmp_path, files)))
    assert found.found.startswith("9e-05 cores' time a period, by /sys/fs/cgroup; ")


def test_a_limit_is_as_good_as_a_right(tmp_path: Path) -> None:
    status = "CapEff:\t0000000000000000\nCpus_allowed_list:\t0-1\n"
    limits = "Max nice priority   30   40\nMax realtime priority   unlimited   unlimited\n"
    files: dict[str, str | None] = {"proc/self/status": status, "proc/self/limits": limits}
    assert wrong(examine_steady(tree=machine_tree(tmp_path, files))) == []


@pytest.mark.parametrize(("text", "cores"), [("0-3,8", (0, 1, 2, 3, 8)), ("", ()), ("5", (5,)), ("3-1", ())])
def test_lists_of_cores(text: str, cores: tuple[int, ...]) -> None:
    assert cores_of(text) == cores
    assert cores_of(listed(cores)) == cores


@pytest.mark.parametrize(("cores", "expected"), [([0], "0"), ([3, 2, 1, 7], "1-3,7"), ([], ""), ([5, 5], "5")])
def test_a_list_of_cores_is_written_as_the_kernel_does(cores: list[int], expected: str) -> None:
    assert listed(cores) == expected


def test_a_list_of_cores_cannot_be_endless() -> None:
    assert len(cores_of("0-999999999999")) == 2**16 + 1


def test_a_run_keeps_states_and_of_what_is_not_ok_what_was_found() -> None:
    found = [Finding("a", "ok", "1 GB"), Finding("b", "caution", "x" * 999, "do"), Finding("c", "unknown", "why")]
    assert kept(found) == {"a": "ok", "b": "caution: " + "x" * 191, "c": "unknown: why"}


def test_a_sweep_says_in_a_line_which_cautions_there_are_and_where() -> None:
    assert doctor_notice([("n", {"a": "ok", "b": "unknown: why"})]) is None
    workers = [("n", {"a": "caution: 1", "b": "caution: 2"}), ("m", {"a": "caution: 3", "b": "ok"})]
    workers += [("m", {"GPU 1 MIG": "caution: on"}), ("o", {"a": "caution: 1", "b": "caution: 5"})]
    assert doctor_notice(workers) == (
        "Caution: what would spoil measurements: a, GPU 1 MIG on m; a, b on n, o. raybench doctor says what was found, "
        "and what to do."
    )
