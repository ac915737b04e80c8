"""Readers of tokenizer files other than tokenizer.json: each makes a pipeline of them."""
