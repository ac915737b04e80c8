"""The engine: checkpoints in, token ids in, token ids out. It knows tensors and no terminal."""

import os

# torch reads this at its first allocation: weights in pages of 2 MB are read an eighth faster.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
