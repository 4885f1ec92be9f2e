"""Compute Engine, as far as jobs/gcp_setup.py asks it: a transport for Google's own client, with answers from memory.

What is asked is held to the API's description, which the client brings: paths, methods and bodies.
"""

from __future__ import annotations

import json
import re
from importlib import resources
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httplib2

from jobs.discovery import misfits

PROJECT = "my-project"
KINDS = {"networks": "Network", "subnetworks": "Subnetwork", "firewalls": "Firewall"}
ITSELF = "https://compute.googleapis.com/compute/v1/"


def description() -> dict[str, Any]:
    """Of the API, as google-api-python-client brings it."""
    from googleapiclient import discovery_cache

    found: dict[str, Any] = json.loads(
        resources.files(discovery_cache).joinpath("documents", "compute.v1.json").read_text()
    )
    return found


class FakeCompute:
    """``made``: resources by their paths below the project. ``images``: Google's."""

    def __init__(self, *images: dict[str, Any]) -> None:
        self.images, self.schemas = list(images), description()["schemas"]
        self.made: dict[str, dict[str, Any]] = {}
        self.refuses: dict[str, str] = {}
        """Kinds whose operations end with an error, and its words."""
        self.fails: Exception | None = None
        """Raised by whatever is asked."""
        self._operations: dict[str, dict[str, Any]] = {}

    def connect(self) -> Any:
        from googleapiclient.discovery import build_from_document

        return build_from_document(description(), http=self)

    def request(
        self, uri: str, method: str = "GET", body: str | None = None, headers: object = None, **_: object
    ) -> tuple[httplib2.Response, bytes]:
        """As httplib2's."""
        if self.fails is not None:
            raise self.fails
        assert uri.startswith(ITSELF), uri
        url = urlsplit(uri.removeprefix(ITSELF))
        status, answer = self._answer(method, url.path.split("/"), parse_qs(url.query), json.loads(body or "{}"))
        if status != 200:
            answer = {"error": {"code": status, "message": answer["message"]}}
        return httplib2.Response({"status": str(status), "content-type": "application/json"}), json.dumps(
            answer
        ).encode()

    def close(self) -> None:
        """As httplib2's."""

    def _answer(
        self, method: str, path: list[str], query: dict[str, list[str]], body: dict[str, Any]
    ) -> tuple[int, dict[str, Any]]:
        projects, project, *rest = path
        assert projects == "projects"
        if project == "deeplearning-platform-release":
            assert (method, rest) == ("GET", ["global", "images"])
            return 200, self._images(query)
        if project != PROJECT:
            return 404, {"message": f"The resource 'projects/{project}' was not found"}
        place = rest[:1] if rest[0] == "global" else rest[:2]
        kind, *name = rest[len(place) :]
        if kind == "operations":
            assert (method, self._operations[name[0]]["place"]) == ("GET", place)
            return 200, self._operations[name[0]] | {"status": "DONE"}
        if method == "GET":
            return self._told(place, kind, name)
        assert misfits(body, {"$ref": KINDS[kind]}, self.schemas) == []
        key = "/".join([*place, kind, body["name"]])
        assert (method, key in self.made) == (("PUT", True) if name else ("POST", False))
        if (network := body.get("network")) is not None:
            assert f"global/networks/{network.rpartition('/')[2]}" in self.made, "what it belongs to is there first"
        if kind == "subnetworks" and any(one.get("ipCidrRange") == body["ipCidrRange"] for one in self.made.values()):
            return 400, {"message": f"Invalid IPCidrRange: {body['ipCidrRange']} conflicts with existing subnetwork"}
        operation = {"name": f"operation-{len(self._operations)}", "status": "RUNNING", "place": place}
        if kind in self.refuses:
            operation["error"] = {"errors": [{"code": "QUOTA_EXCEEDED", "message": self.refuses[kind]}]}
        else:
            self.made[key] = body | {"selfLink": f"{ITSELF}projects/{PROJECT}/{key}"}
        self._operations[str(operation["name"])] = operation
        return 200, {key: value for key, value in operation.items() if key != "error"}

    def _told(self, place: list[str], kind: str, name: list[str]) -> tuple[int, dict[str, Any]]:
        """One resource, or all of a kind. References are whole addresses, as Compute Engine has them."""
        below = "/".join([*place, kind])
        if not name:
            return 200, {"items": [_whole(one) for key, one in self.made.items() if key.startswith(f"{below}/")]}
        there = self.made.get(f"{below}/{name[0]}")
        if there is None:
            return 404, {"message": f"The resource 'projects/{PROJECT}/{below}/{name[0]}' was not found"}
        return 200, _whole(there)

    def _images(self, query: dict[str, list[str]]) -> dict[str, Any]:
        """One a page."""
        asked = re.fullmatch(r'name eq "(.*)"', query["filter"][0])
        assert asked is not None
        assert "\\" not in asked[1], "a backslash in quotes may be read as an escape"
        found = [image for image in self.images if re.fullmatch(asked[1], image["name"])]
        place = int(query.get("pageToken", ["0"])[0])
        more = {"nextPageToken": str(place + 1)} if place + 1 < len(found) else {}
        return {"items": found[place : place + 1], **more} if found else {}


def _whole(resource: dict[str, Any]) -> dict[str, Any]:
    return resource | ({"network": ITSELF + resource["network"]} if "network" in resource else {})
