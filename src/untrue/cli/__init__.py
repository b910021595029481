"""The command line: it parses, calls and prints. Heavy imports are made inside the commands."""

from untrue.cli.main import main

__all__ = ["main"]
