"""What does not fit a schema of one of Google's API descriptions ("discovery documents")."""

from __future__ import annotations

from typing import Any


def misfits(value: Any, schema: dict[str, Any], schemas: dict[str, Any], where: str = "") -> list[str]:
    """What in ``value`` a discovery document's ``schema`` does not have, or has otherwise."""
    schema = schemas[schema["$ref"]] if "$ref" in schema else schema
    kinds = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int | str}
    kind = "integer" if schema.get("format") == "int64" else schema["type"]  # such are strings only on their way
    if not isinstance(value, kinds[kind]):
        return [f"{where}: not a {schema['type']}"]
    if value not in schema.get("enum", [value]):
        return [f"{where}: not one of {schema['enum']}"]
    found = []
    if isinstance(value, list):
        for item in value:
            found += misfits(item, schema["items"], schemas, f"{where}[]")
    elif isinstance(value, dict):
        known = schema.get("properties", {})
        found += [f"{where}.{key}: unknown" for key in value.keys() - known.keys() if known]
        for key in value.keys() & known.keys():
            found += misfits(value[key], known[key], schemas, f"{where}.{key}")
    return found
