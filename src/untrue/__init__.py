"""untrue: measure, explain and prevent the dishonesty that fine-tuning puts into language models."""
