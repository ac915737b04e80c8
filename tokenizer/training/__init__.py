"""Train tokenizers: split and count words, learn merges, put a tokenizer together."""
