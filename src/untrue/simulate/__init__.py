"""Simulated users talk with a model and rate its replies."""
