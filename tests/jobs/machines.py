"""Machines to try a cluster on: namespaces of this computer, reached by ssh, and a cloud that rents them out."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from docs.pages import as_typed

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
PROGRAMS = ("sshd", "ssh", "ssh-keygen", "rsync", "curl", "ip", "unshare", "nsenter", "setpriv")


def why_not() -> str | None:
    """Why no machines can be made here; None where they can."""
    if missing := [program for program in PROGRAMS if shutil.which(program, path=_path()) is None]:
        return f"no {', '.join(missing)} here (.ci/run installs Debian's openssh-server, rsync, curl and iproute2)"
    namespaces = ["unshare", "--net", "--pid", "--fork", "--mount", "--mount-proc", "--uts", "true"]
    done = subprocess.run(namespaces, capture_output=True, text=True, check=False)
    return f"no namespaces can be made here; is this root? ({done.stderr.strip()})" if done.returncode else None


class World:
    """A bridge in a network of its own, machines on it, and a home there for the person who uses them.

    Everything runs below one process, the first of its own process namespace: with it, and it ends with this one,
    every process, network and mount of every machine is gone. Use as a context manager.
    """

    def __init__(self, gateway: str, cloud: bool = False, python: str = "") -> None:
        """``gateway``: this side's address, with its network. ``cloud``: moto's EC2 is there, at port 5000.

        ``python``: a file that every Python there runs first, once raybench is installed.
        """
        self.address = gateway.partition("/")[0]
        self.base = Path(tempfile.mkdtemp(prefix="raybench-", dir="/var/tmp"))  # each machine has a /tmp of its own
        self.home = self.base / "person"
        self._gateway, self._cloud, self._python = gateway, cloud, python
        self._process: subprocess.Popen[str] | None = None
        self._first = ""

    def __enter__(self) -> World:
        try:
            self._lay_out()
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        if self._process is not None:
            self._process.kill()  # its child is process 1 of all, and dies with it
            self._process.wait()
            while self._first and Path(f"/proc/{self._first}/ns/net").exists():
                time.sleep(0.05)
        login = hashlib.sha256(self._login.encode()).hexdigest()[:10]
        shutil.rmtree(f"/tmp/ray_ssh_{login}", ignore_errors=True)  # where Ray keeps ssh's sockets, whatever TMPDIR is
        shutil.rmtree(self.base, ignore_errors=True)

    def machine(self, name: str, address: str, environment: Mapping[str, str] | None = None) -> None:
        """Switch a machine on. ``environment``: what it has besides what every machine has."""
        _write_exports(self.base / f"{name}.environment", environment or {})
        self._tell(f"start {name} ubuntu {address}")

    def command(self, *words: str) -> list[str]:
        """The command line that runs ``words`` here, in the repository, as the person."""
        inside = ["nsenter", "--target", self._first, "--net", "--pid", "--mount", "--uts", f"--wd={REPOSITORY}"]
        return [*inside, "env", "-i", *(f"{name}={value}" for name, value in self.person().items()), *words]

    def run(self, *words: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run ``words`` here, as the person."""
        options = {"capture_output": True, "text": True, "timeout": 1200, "stdin": subprocess.DEVNULL} | options
        done = subprocess.run(self.command(*words), check=False, **options)
        assert done.returncode == 0 or not check, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def person(self) -> dict[str, str]:
        """The environment of who types commands here."""
        found = {
            "HOME": str(self.home),
            "LOGNAME": self._login,
            "PATH": f"{Path(sys.executable).parent}:{_path()}",
            "TMPDIR": str(self.home / "tmp"),
            "RAY_TMPDIR": str(self.home / "tmp"),
            "RAY_AUTH_MODE": as_typed("docs/cluster.md", "export RAY_AUTH_MODE=").partition("=")[2],
            "RAY_USAGE_STATS_ENABLED": "0",
            "TERM": "dumb",
            "LANG": "C.UTF-8",
        }
        return found | (self.cloud_account() if self._cloud else {})

    def cloud_account(self) -> dict[str, str]:
        """Where the cloud is, and made-up keys to it."""
        keys = {"AWS_ACCESS_KEY_ID": "made-up", "AWS_SECRET_ACCESS_KEY": "made-up"}
        return keys | {"AWS_ENDPOINT_URL": f"http://{self.address}:5000", "AWS_EC2_METADATA_DISABLED": "true"}

    @property
    def _login(self) -> str:
        return self.base.name

    def _lay_out(self) -> None:
        for folder in ("image", "machines", "packages", "person/.ssh", "person/tmp"):
            (self.base / folder).mkdir(parents=True, mode=0o700)
        key = self.home / ".ssh" / "id_ed25519"
        for path in (key, self.base / "hostkey"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
        shutil.copy(f"{key}.pub", self.base / "authorized_keys")
        self._bake()
        # pip's spelling of --no-build-isolation, in its environment, is a 0
        offline = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0", "RAY_USAGE_STATS_ENABLED": "0"}
        account = self.cloud_account() if self._cloud else {}
        _write_exports(self.base / "environment", offline | account)

    def _bake(self) -> None:
        """The image that machines are made from: a home with an environment that sees this one's packages.

        So `pip install` finds everything there, as on a machine image with the packages baked in, but for raybench
        itself, which it builds: machines have no way out.
        """
        venv = self.base / "home" / "raybench" / "venv"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
        packages = sysconfig.get_paths()["purelib"]
        (self.base / "site-packages").write_text(packages)
        (site,) = venv.glob("lib/python3.*/site-packages")
        lines = [str(self.base / "packages")]
        if self._python:  # a copy: where it is may be below /tmp, and machines have a /tmp of their own
            first = shutil.copy(self._python, self.base / "first.py")
            spec = f"u.find_spec('raybench') and u.spec_from_file_location('first', {str(first)!r})"
            lines += [f"import importlib.util as u; s = {spec}; s and s.loader.exec_module(u.module_from_spec(s))"]
        (site / "image.pth").write_text("\n".join([*lines, ""]))
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        pip += ["-c", str(REPOSITORY / "constraints.txt")]  # what it brings must be what is pinned
        subprocess.run([*pip, "--target", str(site), "hatchling"], check=True)  # builds raybench there
        script = (Path(sys.executable).parent / "ray").read_text().splitlines()
        (venv / "bin" / "ray").write_text("\n".join([f"#!{venv}/bin/python", *script[1:], ""]))
        (venv / "bin" / "ray").chmod(0o755)
        shutil.copy("/etc/skel/.bashrc", self.base / "home")
        shutil.rmtree(self.base / "image")
        (self.base / "home").rename(self.base / "image")
        (self.base / "home").mkdir()

    def _start(self) -> None:
        namespaces = ["--net", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "--uts"]
        world = [sys.executable, str(HERE / "fakecloud" / "world.py"), str(self.base), self._gateway]
        command = ["setpriv", "--pdeathsig", "KILL", "unshare", *namespaces, *world, *["cloud"] * self._cloud]
        with (self.base / "world.log").open("w") as log:
            self._process = subprocess.Popen(
                command,
                env={**os.environ, "PATH": _path()},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self._hear()
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        (self._first,) = children.read_text().split()

    def _tell(self, line: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        self._hear()

    def _hear(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        assert self._process.stdout.readline(), (self.base / "world.log").read_text()


def _write_exports(path: Path, environment: Mapping[str, str]) -> None:
    path.write_text("".join(f"export {name}={shlex.quote(value)}\n" for name, value in environment.items()))


def _path() -> str:
    return f"{os.environ['PATH']}:/usr/sbin:/sbin"


@contextlib.contextmanager
def within(seconds: float, what: str) -> Any:
    """A loop's deadline: ``with within(60, "a worker") as wait: while not up(): wait()``."""
    deadline = time.monotonic() + seconds

    def wait(pause: float = 1.0) -> None:
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(pause)

    yield wait
