"""What runs evals: the record `Eval`, the Inspect task that is made of it, judged replies, resuming, metrics."""
