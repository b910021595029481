"""Rows, questions and items: where they come from and how they are mixed. Knows nothing of training or evals."""
