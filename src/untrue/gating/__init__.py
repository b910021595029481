"""The gate: a model or an adapter against its baseline, and a verdict with an exit code."""
