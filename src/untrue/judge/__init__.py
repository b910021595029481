"""Judges: models that say what a reply states. Their prompts, verdicts, cache and checks."""
