"""A tokenizer taken apart: its pipeline, vocabulary, merges, scripts, and what it can't say."""
