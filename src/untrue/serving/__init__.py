"""Models that a server answers for, and the proof of its weights."""
