"""Machines and, if asked for, a cloud, on one computer: each machine is a set of namespaces on a bridge of their own.

Run as process 1 of namespaces of its own (`machines.World` does): when it ends, however it ends, the kernel ends
every process of every machine with it, and takes their networks and mounts away. It ends with its standard input.

Each line it is told is a command, and it answers each with a line: ``start NAME USER ADDRESS...`` and ``stop NAME``.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


class Machines:
    """Machines that are on, on one bridge."""

    def __init__(self, base: Path, gateway: str) -> None:
        self._base, self._gateway = base, gateway
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._ports = 0
        _ip("link", "set", "lo", "up")
        _ip("link", "add", "br0", "type", "bridge")
        _ip("addr", "add", gateway, "dev", "br0")
        _ip("link", "set", "br0", "up")

    def start(self, name: str, user: str, addresses: list[str]) -> None:
        """Switch a machine on. Its first address is on the bridge's own network, others are added to it."""
        namespaces = ["--net", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "--uts"]
        with (self._base / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                ["unshare", *namespaces, "bash", str(HERE / "machine.sh"), str(self._base), name, user],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        pid = self._first_process(process)
        self._ports += 1
        port = f"port{self._ports}"
        _ip("link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", pid)
        _ip("link", "set", port, "master", "br0", "up")
        inside = ["nsenter", "--target", pid, "--net", "ip"]
        for address in addresses:
            _run(*inside, "addr", "add", address, "dev", "eth0")
        _run(*inside, "link", "set", "eth0", "up")
        _run(*inside, "route", "add", "default", "via", self._gateway.partition("/")[0])
        for address in addresses[1:]:
            _ip("route", "replace", address, "dev", "br0")
        self._running[name] = process

    def stop(self, name: str) -> None:
        """Cut the network, then the power: nobody is told."""
        process = self._running.pop(name)
        pid = self._first_process(process)
        _run("nsenter", "--target", pid, "--net", "ip", "link", "set", "eth0", "down")
        process.kill()
        process.wait()

    def running(self) -> set[str]:
        return set(self._running)

    @staticmethod
    def _first_process(unshare: subprocess.Popen[bytes]) -> str:
        for _ in range(200):
            with contextlib.suppress(FileNotFoundError, IndexError):
                pid = Path(f"/proc/{unshare.pid}/task/{unshare.pid}/children").read_text().split()[0]
                if Path(f"/proc/{pid}/ns/net").readlink() != Path("/proc/self/ns/net").readlink():
                    return pid
            time.sleep(0.05)
        raise RuntimeError("a machine did not start")


class Cloud(threading.Thread):
    """moto's EC2; every instance that it runs is a machine with the instance's addresses and its key."""

    def __init__(self, base: Path, machines: Machines, host: str) -> None:
        super().__init__(daemon=True)
        self._base, self._machines = base, machines
        os.environ["MOTO_IAM_LOAD_MANAGED_POLICIES"] = "true"  # Ray gives the head two of them
        from moto.server import ThreadedMotoServer

        ThreadedMotoServer(host, 5000, verbose=False).start()
        import boto3

        keys = {"aws_access_key_id": "made-up", "aws_secret_access_key": "made-up"}
        self._ec2 = boto3.client("ec2", endpoint_url=f"http://{host}:5000", region_name="us-west-2", **keys)

    def run(self) -> None:
        while True:
            running = self._instances()
            for name in self._machines.running() - running.keys():
                self._machines.stop(name)
            for name in running.keys() - self._machines.running():
                instance = running[name]
                self._admit(instance["KeyName"])
                addresses = [f"{instance['PrivateIpAddress']}/16", f"{instance['PublicIpAddress']}/32"]
                self._machines.start(name, "ubuntu", addresses)
            time.sleep(1)

    def _instances(self) -> dict[str, dict[str, Any]]:
        reservations = self._ec2.describe_instances()["Reservations"]
        instances = [instance for reservation in reservations for instance in reservation["Instances"]]
        return {i["InstanceId"]: i for i in instances if i["State"]["Name"] == "running"}

    def _admit(self, key_name: str) -> None:
        """What cloud-init does: let the instance's key in."""
        (key,) = self._ec2.describe_key_pairs(KeyNames=[key_name], IncludePublicKey=True)["KeyPairs"]
        (self._base / "authorized_keys").write_text(key["PublicKey"] + "\n")


def _ip(*arguments: str) -> None:
    _run("ip", *arguments)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def main() -> None:
    base, gateway, *cloud = sys.argv[1:]
    machines = Machines(Path(base), gateway)
    if cloud:
        Cloud(Path(base), machines, gateway.partition("/")[0]).start()
    print("ready", flush=True)
    for line in sys.stdin:
        command, name, *rest = line.split()
        if command == "start":
            machines.start(name, rest[0], rest[1:])
        else:
            machines.stop(name)
        print("done", flush=True)


if __name__ == "__main__":
    main()
