"""Versions of what a result depends on, for the record."""

import platform
from importlib import metadata

# Libraries whose versions may change a figure: arms of one study are made by the same.
COMPUTE = ("torch", "transformers", "tokenizers", "trl", "peft")

PACKAGES = ("untrue", "torch", "transformers", "trl", "peft", "inspect-ai", "numpy", "scipy")


def versions() -> dict[str, str]:
    """Return name -> version of Python, this package and what it computes with."""
    return {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}}


def libraries() -> dict[str, str]:
    """Return name -> version of the libraries that figures are computed with."""
    return {name: _version(name) for name in COMPUTE}


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"
