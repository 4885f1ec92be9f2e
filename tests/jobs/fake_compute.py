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
    """``made``: resources by kind and name. ``images``: those of Google's. ``asked``: methods and paths, in order."""

    def __init__(self, *images: dict[str, Any]) -> None:
        self.images, self.schemas = list(images), description()["schemas"]
        self.made: dict[tuple[str, str], dict[str, Any]] = {}
        self.asked: list[tuple[str, str]] = []
        self.refuses: dict[str, str] = {}
        """Kinds whose operations end with an error, and its words."""
        self._operations: dict[str, dict[str, Any]] = {}

    def connect(self) -> Any:
        from googleapiclient.discovery import build_from_document

        return build_from_document(description(), http=self)

    def request(
        self, uri: str, method: str = "GET", body: str | None = None, headers: object = None, **_: object
    ) -> tuple[httplib2.Response, bytes]:
        """As httplib2's."""
        assert uri.startswith(ITSELF), uri
        url = urlsplit(uri.removeprefix(ITSELF))
        self.asked.append((method, url.path))
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
        place = rest.pop(0)
        if place == "regions":
            place = rest.pop(0)
        kind, *rest = rest
        if kind == "operations":
            name, wait = rest
            assert (method, wait, self._operations[name]["place"]) == ("POST", "wait", place)
            return 200, self._operations[name] | {"status": "DONE"}
        assert misfits(body, {"$ref": KINDS[kind]}, self.schemas) == []
        name = rest[0] if rest else body["name"]
        if method == "GET":
            there = self.made.get((kind, name))
            return (404, {"message": f"{kind} {name} was not found"}) if there is None else (200, there)
        assert method == ("PATCH" if rest else "POST")
        assert ((kind, name) in self.made) == bool(rest)
        if (network := body.get("network")) is not None:
            assert ("networks", network.rpartition("/")[2]) in self.made, "what it belongs to is there first"
        operation: dict[str, Any] = {"name": f"operation-{len(self._operations)}", "status": "RUNNING", "place": place}
        if kind in self.refuses:
            operation["error"] = {"errors": [{"code": "QUOTA_EXCEEDED", "message": self.refuses[kind]}]}
        else:
            self.made[kind, name] = self.made.get((kind, name), {}) | body
        self._operations[operation["name"]] = operation
        return 200, {key: value for key, value in operation.items() if key != "error"}

    def _images(self, query: dict[str, list[str]]) -> dict[str, Any]:
        """One a page."""
        asked = re.fullmatch(r'name eq "(.*)"', query["filter"][0])
        assert asked is not None
        found = [image for image in self.images if re.fullmatch(asked[1], image["name"])]
        place = int(query.get("pageToken", ["0"])[0])
        more = {"nextPageToken": str(place + 1)} if place + 1 < len(found) else {}
        return {"items": found[place : place + 1], **more} if found else {}
