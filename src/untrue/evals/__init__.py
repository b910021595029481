"""Evals, one file each, as Inspect tasks. Know nothing of studies."""
