"""Training: LoRA fine-tuning of a model on rows, supervised or by KTO."""
