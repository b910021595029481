"""Data files written for this project. Levels `subtle` and `severe` are intentionally misaligned: never train on them
to serve a model."""
