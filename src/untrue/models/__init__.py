"""A name -> weights, tokenizer and adapter; the embedded default."""
