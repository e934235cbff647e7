"""Checks of JSON against `docs/output.schema.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SCHEMA: dict[str, Any] = json.loads((ROOT / "docs" / "output.schema.json").read_text(encoding="utf-8"))
_TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict, "array": list, "string": str, "boolean": bool, "null": type(None), "integer": int,
    "number": (int, float),
}  # fmt: skip
_KEYWORDS = {
    "$ref", "type", "properties", "required", "additionalProperties", "items", "minItems", "maxItems", "minimum",
    "maximum", "const", "description",
}  # fmt: skip


def flaws(value: Any, schema: dict[str, Any], where: str = "") -> list[str]:
    """Return how a value differs from a schema, of the keywords that the file uses."""
    assert schema.keys() <= _KEYWORDS, schema.keys() - _KEYWORDS
    found = []
    if "$ref" in schema:
        found += flaws(value, SCHEMA["$defs"][schema["$ref"].removeprefix("#/$defs/")], where)
    if "const" in schema and value != schema["const"]:
        found.append(f"{where} is {value!r}")
    names = schema.get("type", [])
    names = [names] if isinstance(names, str) else names
    if names and not any(
        isinstance(value, _TYPES[name]) and (not isinstance(value, bool) or name == "boolean") for name in names
    ):
        return [*found, f"{where} is {value!r}, expected {names}"]
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        found += [f"{where} lacks {name}" for name in schema.get("required", []) if name not in value]
        if schema.get("additionalProperties") is False:
            found += [f"{where}.{name} is not described" for name in value if name not in properties]
        for name, inner in value.items():
            found += flaws(inner, properties.get(name, {}), f"{where}.{name}")
    if isinstance(value, list):
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            found.append(f"{where} has {len(value)} items")
        for number, inner in enumerate(value):
            found += flaws(inner, schema.get("items", {}), f"{where}[{number}]")
    if isinstance(value, int | float) and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        found.append(f"{where} is {value}")
    return found


def check(text: str, name: str) -> Any:
    """Check a document, and return it."""
    document = json.loads(text)
    assert flaws(document, SCHEMA["$defs"][name]) == []
    return document
