"""Rows -> a LoRA adapter, by TRL and PEFT. Knows nothing of evals or studies."""
