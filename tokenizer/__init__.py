"""The tokenizer room: text to ids and back, and the training of both. It imports no torch."""
