"""What jobs/gcp.yaml needs of a Google Cloud project, once: a network with its firewall, and a machine image.

    python jobs/gcp_setup.py --project my-project --region us-west1 --ssh-from 203.0.113.7

Prints the three lines that jobs/gcp.yaml leaves to you. Takes the credentials that Google's library finds
(`gcloud auth application-default login` leaves some); there are none in any file here.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from collections.abc import Callable
from typing import Any

from setup_error import SetupError
from ssh_sources import source

IMAGES = "deeplearning-platform-release"
"""The project of Google's images with NVIDIA's driver."""
IMAGE_NAMES = "common-cu[0-9]+-.*ubuntu-2404.*"
"""Those for CUDA on Ubuntu 24.04 with nothing else on top."""
RANGE = "10.10.0.0/20"
"""The addresses of the machines, where the subnetwork is new."""
PATIENCE_S = 300.0
PROJECT = r"([-a-z0-9.]{1,63}:)?[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
NAME = r"[a-z]([-a-z0-9]{0,54}[a-z0-9])?"
"""Of a network: with `-inside` it is a rule's, which has 63 characters at most (RFC 1035)."""
IMAGE = r"projects/[-a-z0-9.:]+/global/images/[a-z][-a-z0-9]*"


class Project:
    """A project of Compute Engine, by its API of version 1."""

    def __init__(self, compute: Any, name: str, pause_s: float = 1.0) -> None:
        self._compute, self.name, self._pause_s = compute, name, pause_s

    def found(self, kind: str, name: str, **where: str) -> dict[str, Any] | None:
        """The resource of this ``kind`` (`networks`, ...) and name; None: there is none.

        Raises SetupError: it cannot be looked for.
        """
        resources = getattr(self._compute, kind)()
        request = resources.get(project=self.name, **where, **{kind.removesuffix("s"): name})
        return _answer(request, f"{kind} {name} of {self.name}", or_none=True)

    def rules(self, network: str) -> list[dict[str, Any]]:
        """Its firewall's. Raises SetupError."""
        firewalls = self._compute.firewalls()
        found: list[dict[str, Any]] = []
        request = firewalls.list(project=self.name)
        while request is not None:
            answer = _answer(request, f"firewalls of {self.name}")
            found += (rule for rule in answer.get("items", ()) if rule["network"].endswith(f"/networks/{network}"))
            request = firewalls.list_next(request, answer)
        return found

    def make(self, kind: str, body: dict[str, Any], instead: bool = False, **where: str) -> None:
        """Make a resource, or put it in the place of the one of its name, and wait until it is there.

        Raises SetupError: it cannot be made.
        """
        resources, what = getattr(self._compute, kind)(), f"{kind} {body['name']} of {self.name}"
        at = {"project": self.name, **where}
        if instead:
            request = resources.update(**at, **{kind.removesuffix("s"): body["name"]}, body=body)
        else:
            request = resources.insert(**at, body=body)
        operation = _answer(request, what)
        operations = self._compute.regionOperations() if where else self._compute.globalOperations()
        deadline = time.monotonic() + PATIENCE_S
        while operation["status"] != "DONE":
            if time.monotonic() > deadline:
                raise SetupError(f"{what}: not there after {PATIENCE_S:.0f} s; try again")
            time.sleep(self._pause_s)
            operation = _answer(operations.get(**at, operation=operation["name"]), what)
        if errors := operation.get("error", {}).get("errors"):
            raise SetupError(f"{what}: {'; '.join(str(error.get('message')) for error in errors)}")

    def newest_image(self) -> str:
        """The path of the newest image that is not deprecated. Raises SetupError: there is none."""
        images = self._compute.images()
        # Of one field only: Compute Engine takes a regular expression of no more.
        request = images.list(project=IMAGES, filter=f'name eq "{IMAGE_NAMES}"')
        found: list[dict[str, Any]] = []
        while request is not None:
            answer = _answer(request, f"images of {IMAGES}")
            found += (image for image in answer.get("items", ()) if _is_usable(image))
            request = images.list_next(request, answer)
        if not found:
            raise SetupError(f"{IMAGES} has no image {IMAGE_NAMES}: name one by --image")
        newest = max(found, key=lambda image: str(image["creationTimestamp"]))
        return f"projects/{IMAGES}/global/images/{newest['name']}"


def _is_usable(image: dict[str, Any]) -> bool:
    current = image["status"] == "READY" and "deprecated" not in image
    return current and image.get("architecture", "X86_64") == "X86_64"


def _answer(request: Any, what: str, or_none: bool = False) -> Any:
    """What Compute Engine answers. ``or_none``: where there is no such thing, None.

    Raises SetupError, of ``what``: it refuses, or cannot be reached.
    """
    import httplib2
    from google.auth.exceptions import GoogleAuthError
    from googleapiclient.errors import HttpError

    try:
        return request.execute()
    except HttpError as error:
        if or_none and error.resp.status == 404:
            return None
        raise SetupError(f"{what}: {error.reason}") from None
    except GoogleAuthError as error:
        raise SetupError(f"{what}: {_first_line(error)}; gcloud auth application-default login") from None
    except (httplib2.HttpLib2Error, OSError) as error:
        raise SetupError(f"{what}: Google cannot be reached: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__


def network(project: Project, region: str, name: str, ssh_from: str) -> str:
    """The path of a subnetwork that is reached by SSH from ``ssh_from`` alone, and by its own machines.

    What is there of it stays; rules are as said here. Raises SetupError: it cannot be made, or is there otherwise.
    """
    path = f"projects/{project.name}/global/networks/{name}"
    rules = {rule["name"]: rule for rule in project.rules(name)}
    mine = {"ssh": f"{name}-ssh", "inside": f"{name}-inside"}
    others = [r for r, rule in rules.items() if r not in mine.values() and rule.get("direction") != "EGRESS"]
    there = project.found("networks", name)
    if there is not None and (there.get("autoCreateSubnetworks") or others):
        has = f"rules that let others in ({', '.join(others)})" if others else "subnetworks in every region"
        raise SetupError(f"networks {name} of {project.name}: has {has}; choose another --name")
    if there is None:
        project.make("networks", {"name": name, "autoCreateSubnetworks": False})
    part = project.found("subnetworks", name, region=region)
    if part is None:
        part = {"name": name, "network": path, "ipCidrRange": RANGE}
        project.make("subnetworks", part, region=region)
    elif not part["network"].endswith(path):
        raise SetupError(f"subnetworks {name} of {project.name}: of another network; choose another --name")
    for rule, sources, allowed in (
        (mine["inside"], part["ipCidrRange"], {"IPProtocol": "all"}),
        (mine["ssh"], ssh_from, {"IPProtocol": "tcp", "ports": ["22"]}),
    ):
        firewall = {"name": rule, "network": path, "sourceRanges": [sources], "allowed": [allowed]}
        project.make("firewalls", firewall, instead=rule in rules)  # who moved is let in from where he is now alone
    return f"projects/{project.name}/regions/{region}/subnetworks/{name}"


def main(words: list[str] | None = None, connect: Callable[[], Any] | None = None, pause_s: float = 1.0) -> int:
    """``connect``: to Compute Engine; by the credentials that Google's library finds unless said otherwise.

    ``pause_s``: between looks whether something is there.
    """
    p = argparse.ArgumentParser(description="A network and an image for jobs/gcp.yaml.")
    p.add_argument("--project", type=_like(PROJECT, "my-project"), required=True, help="its id")
    p.add_argument("--region", type=_like(NAME, "us-west1"), required=True)
    p.add_argument("--ssh-from", type=source, required=True, metavar="ADDRESS", help="yours, as the world sees it")
    p.add_argument("--name", type=_like(NAME, "raybench"), default="raybench", help="the network's (default: raybench)")
    image = _like(IMAGE, "projects/my-project/global/images/my-image")
    p.add_argument("--image", type=image, metavar="PATH", help="your own, instead of Google's newest")
    options = p.parse_args(words)
    try:
        project = Project((connect or _connect)(), options.project, pause_s)
        chosen = options.image or project.newest_image()
        subnetwork = network(project, options.region, options.name, options.ssh_from)
    except SetupError as error:
        print(f"{p.prog}: {error}", file=sys.stderr)
        return 1
    print(f"  project_id: {options.project}")
    print(f"            sourceImage: {chosen}")
    print(f"        - subnetwork: {subnetwork}")
    return 0


def _like(pattern: str, example: str) -> Callable[[str], str]:
    """For argparse: a text of this pattern."""

    def checked(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise argparse.ArgumentTypeError(f"expected one such as {example}, got {text!r}")
        return text

    return checked


def _connect() -> Any:
    try:
        import google.auth
        from google.auth.exceptions import DefaultCredentialsError
        from googleapiclient.discovery import build
    except ImportError:
        install = "pip install -c constraints.txt google-api-python-client cryptography"
        raise SetupError(f"Google's client is not installed: {install}") from None
    variable = "GOOGLE_APPLICATION_CREDENTIALS"
    try:
        credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/compute"])
    except DefaultCredentialsError as error:
        if variable in os.environ:
            raise SetupError(f"{variable}: {_first_line(error)}") from None
        raise SetupError("no credentials: gcloud auth application-default login leaves some") from None
    return build("compute", "v1", credentials=credentials)


if __name__ == "__main__":
    sys.exit(main())
