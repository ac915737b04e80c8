"""Cross-entropy that never holds all logits at once.

With V = 6144 and 8,192 positions the logits and their gradient would be 100 MB each in bf16, read
and written several times: more traffic than the rest of the network. Here a chunk of positions
goes through the head, the softmax and both gradients while it is still in the cache
(the idea of Liger's fused linear cross-entropy, Hsu et al. 2024).
"""

from __future__ import annotations

import torch
from torch import Tensor

CHUNK = 1024
Z_LOSS = 1e-5  # keeps log Z near zero (PaLM, Chowdhery et al. 2022), so that bf16 logits stay exact


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Computes the gradients in the forward pass, where each chunk's logits are at hand."""

    @staticmethod
    def forward(ctx, hidden: Tensor, head: Tensor, targets: Tensor) -> Tensor:  # type: ignore[override]
        """The mean loss, a scalar, from hidden [N, M], head [V, M] and targets [N]."""
        total = hidden.new_zeros((), dtype=torch.float32)
        hidden_grads = []
        head_grad = torch.zeros_like(head, dtype=torch.float32)
        for part, wanted in zip(hidden.split(CHUNK), targets.split(CHUNK), strict=True):
            logits = (part @ head.t()).float()
            log_z = logits.logsumexp(-1, keepdim=True)
            chosen = logits.gather(-1, wanted[:, None])
            total = total + (log_z - chosen).sum() + Z_LOSS * log_z.square().sum()
            grad = torch.exp(logits - log_z) * (1 + 2 * Z_LOSS * log_z)
            hit = torch.arange(logits.shape[-1], device=logits.device) == wanted[:, None]
            grad = (grad - hit.float()).to(hidden.dtype)
            hidden_grads.append(grad @ head)
            head_grad = head_grad + grad.t() @ part
        count = hidden.shape[0]
        ctx.save_for_backward(torch.cat(hidden_grads), head_grad)
        ctx.count = count
        return total / count

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        """The scalar's gradient scales what the forward pass already computed."""
        hidden_grad, head_grad = ctx.saved_tensors
        scale = grads[0] / ctx.count
        return (
            (hidden_grad * scale).to(hidden_grad.dtype),
            (head_grad * scale).to(hidden_grad.dtype),
            None,
        )


def next_token_loss(hidden: Tensor, head: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy in nats, z-loss included: hidden [N, M], head [V, M], targets [N]."""
    return _ChunkedCrossEntropy.apply(hidden, head, targets)  # type: ignore[no-any-return]
