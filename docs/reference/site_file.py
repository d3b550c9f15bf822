"""Writes site.schema.json, the site file's JSON Schema for editors, from the models: `make docs`."""

from __future__ import annotations

import json
from pathlib import Path

from gridvisor.site.model import site_schema


def page() -> str:
    """The text of the file."""
    return json.dumps(site_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    Path(__file__).with_name("site.schema.json").write_text(page())
