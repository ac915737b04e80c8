"""The engine: checkpoints in, token ids in, token ids out. It knows tensors and no terminal."""
