"""Checkpoints on disk: what is there, whether it is whole, and tensors mapped from it."""
