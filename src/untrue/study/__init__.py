"""A study: configuration -> plan -> cells -> results. Joins data, training and evals, which know nothing of it."""
