"""Settings of scenarios and of attacks, with their defaults and bounds, as text and as JSON."""

from __future__ import annotations

from math import isfinite
from typing import Any

from pydantic import BaseModel

from gridmerit.tables import WIDTH, table

_LONGEST_ALLOWED = 40  # characters; more would leave no room for what a setting means


def list_settings(settings: type[BaseModel]) -> list[dict[str, Any]]:
    """Each setting with its default, its bounds and what it means."""
    properties: dict[str, Any] = settings.model_json_schema().get("properties", {})
    return [
        {
            "name": key,
            "default": field.get("default"),
            "allowed": _show_allowed(field),
            "about": field.get("description", ""),
        }
        for key, field in properties.items()
    ]


def render_settings(settings: list[dict[str, Any]]) -> str:
    """The answer of `list_settings` as a table; many words to choose from stand behind what they mean."""
    rows = []
    for row in settings:
        allowed, about = row["allowed"], row["about"]
        if len(allowed) > _LONGEST_ALLOWED:
            allowed, about = "one of these", f"{about}: {allowed}"
        rows.append((row["name"], show_value(row["default"]), allowed, about))
    return table(("setting", "default", "allowed", "what it means"), rows, left=(0, 2, 3), width=WIDTH)


def show_value(value: object) -> str:
    """As one would write it: a number to six digits, `true` or `false`, text as it is."""
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, float) or not isfinite(value):
        return str(value)
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else f"{value:.6g}"


def _show_allowed(field: dict[str, Any]) -> str:
    """The bounds that a JSON schema states."""
    if "enum" in field:
        return ", ".join(map(str, field["enum"]))
    if "const" in field:
        return str(field["const"])
    if "anyOf" in field:
        return ", ".join(map(_show_allowed, field["anyOf"]))
    marks = (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))
    bounds = [f"{mark} {show_value(field[key])}" for key, mark in marks if key in field]
    kinds = {"integer": "whole number", "number": "number", "boolean": "true or false", "string": "text"}
    return ", ".join([kinds[field["type"]], *bounds])
