"""Versions of what a result depends on, for the record."""

from __future__ import annotations

import platform
from importlib import metadata

PACKAGES = ("untrue", "torch", "transformers", "trl", "peft", "inspect-ai", "numpy", "scipy")


def versions() -> dict[str, str]:
    """Return name -> version of Python, this package and what it computes with."""
    return {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}}


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"
