"""Engine tests compute on tiny tensors, which one thread does faster than two."""

from __future__ import annotations

import torch

torch.set_num_threads(1)
