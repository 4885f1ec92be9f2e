"""What jobs/gcp.yaml needs of a Google Cloud project, once: a network with its firewall, and a machine image.

    python jobs/gcp_setup.py --project my-project --region us-west1 --ssh-from 203.0.113.7

Prints the three lines that jobs/gcp.yaml leaves to you. Takes the credentials that Google's library finds
(`gcloud auth application-default login` leaves some); there are none in any file here.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from typing import Any

from ssh_sources import source

IMAGES = "deeplearning-platform-release"
"""The project of Google's images with NVIDIA's driver."""
IMAGE_NAMES = r"common-cu\d+-.*ubuntu-2404.*"
"""Those for CUDA on Ubuntu 24.04 with nothing else on top."""
RANGE = "10.10.0.0/20"
"""The addresses of the machines."""


class SetupError(Exception):
    """One line: what, where, and what to do."""


class Project:
    """A project of Compute Engine, by its API of version 1."""

    def __init__(self, compute: Any, name: str) -> None:
        self._compute, self.name = compute, name

    def made(self, kind: str, body: dict[str, Any], **where: str) -> None:
        """Make a resource of ``kind`` (`networks`, ...), or give one of its name what is said here. Waits for it.

        Raises SetupError: it cannot be made.
        """
        resources = getattr(self._compute, kind)()
        at = {"project": self.name, **where}
        named = {kind.removesuffix("s"): body["name"]}
        if self._found(resources.get(**at, **named)) is None:
            operation = self._asked(resources.insert(**at, body=body))
        elif kind == "firewalls":  # who moved is let in from where he is now, and not from where he was
            operation = self._asked(resources.patch(**at, **named, body=body))
        else:
            return
        waiting = self._compute.regionOperations() if "region" in where else self._compute.globalOperations()
        while operation["status"] != "DONE":
            operation = self._asked(waiting.wait(**at, operation=operation["name"]))
        if errors := operation.get("error", {}).get("errors"):
            raise SetupError(f"{kind} {body['name']}: {'; '.join(str(error.get('message')) for error in errors)}")

    def newest_image(self) -> str:
        """The path of the newest image that is not deprecated. Raises SetupError: there is none."""
        images = self._compute.images()
        # Of one field only: Compute Engine takes a regular expression of no more.
        request = images.list(project=IMAGES, filter=f'name eq "{IMAGE_NAMES}"')
        found: list[dict[str, Any]] = []
        while request is not None:
            answer = self._asked(request)
            found += (image for image in answer.get("items", ()) if _is_usable(image))
            request = images.list_next(request, answer)
        if not found:
            raise SetupError(f"{IMAGES} has no image {IMAGE_NAMES}: name one by --image")
        newest = max(found, key=lambda image: str(image["creationTimestamp"]))
        return f"projects/{IMAGES}/global/images/{newest['name']}"

    def _found(self, request: Any) -> Any:
        """What it answers; None where there is nothing."""
        from googleapiclient.errors import HttpError

        try:
            return request.execute()
        except HttpError as error:
            if error.resp.status == 404:
                return None
            raise SetupError(f"project {self.name}: {error.reason}") from None

    def _asked(self, request: Any) -> Any:
        if (answer := self._found(request)) is None:
            raise SetupError(f"project {self.name}: not there, or not yours: gcloud projects list")
        return answer


def _is_usable(image: dict[str, Any]) -> bool:
    current = image["status"] == "READY" and "deprecated" not in image
    return current and image.get("architecture", "X86_64") == "X86_64"


def network(project: Project, region: str, name: str, ssh_from: str) -> str:
    """The path of a subnetwork that is reached by SSH from ``ssh_from`` alone, and by its own machines."""
    path = f"projects/{project.name}/global/networks/{name}"
    project.made("networks", {"name": name, "autoCreateSubnetworks": False})
    subnetwork = {"name": name, "network": path, "ipCidrRange": RANGE}
    project.made("subnetworks", subnetwork, region=region)
    for rule, sources, allowed in (
        ("ssh", ssh_from, {"IPProtocol": "tcp", "ports": ["22"]}),
        ("inside", RANGE, {"IPProtocol": "all"}),
    ):
        firewall = {"name": f"{name}-{rule}", "network": path, "sourceRanges": [sources], "allowed": [allowed]}
        project.made("firewalls", firewall)
    return f"projects/{project.name}/regions/{region}/subnetworks/{name}"


def main(words: list[str] | None = None, connect: Callable[[], Any] | None = None) -> int:
    """``connect``: to Compute Engine; by the credentials that Google's library finds unless said otherwise."""
    p = argparse.ArgumentParser(description="A network and an image for jobs/gcp.yaml.")
    p.add_argument("--project", type=_name, required=True, help="its id")
    p.add_argument("--region", type=_name, required=True)
    p.add_argument("--ssh-from", type=source, required=True, metavar="ADDRESS", help="yours, as the world sees it")
    p.add_argument("--name", type=_name, default="raybench", help="the network's (default: raybench)")
    p.add_argument("--image", metavar="PATH", help="your own, instead of Google's newest")
    options = p.parse_args(words)
    try:
        project = Project((connect or _connect)(), options.project)
        image = options.image or project.newest_image()
        subnetwork = network(project, options.region, options.name, options.ssh_from)
    except SetupError as error:
        print(f"{p.prog}: {error}", file=sys.stderr)
        return 1
    print(f"  project_id: {options.project}")
    print(f"            sourceImage: {image}")
    print(f"        - subnetwork: {subnetwork}")
    return 0


def _name(text: str) -> str:
    """Of a resource, as Google has them: RFC 1035."""
    if not re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", text):
        raise argparse.ArgumentTypeError(f"expected lower-case letters, digits and hyphens, got {text!r}")
    return text


def _connect() -> Any:
    import google.auth
    from google.auth.exceptions import DefaultCredentialsError
    from googleapiclient.discovery import build

    try:
        credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/compute"])
    except DefaultCredentialsError:
        raise SetupError("no credentials: gcloud auth application-default login leaves some") from None
    return build("compute", "v1", credentials=credentials)


if __name__ == "__main__":
    sys.exit(main())
