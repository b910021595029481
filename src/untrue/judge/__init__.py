"""Judges: models that say what a reply states. Their prompts, judgements, cache and checks."""
