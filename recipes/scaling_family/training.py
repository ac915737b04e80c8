"""One size's training: resumable, the same batches for every size."""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from export import export
from model import Decoder
from optimizer import Optimizer
from precision import working_type
from schedule import rate_at
from sizes import LENGTH, SIZES
from train import clip, load_state
from workers import LocalGradients, WorkerGradients

ROWS = 32  # windows a step
SAVE_EVERY = 60.0  # seconds
LOG_EVERY = 20.0
HEAD_RATE = 0.004 * 256


def train(name: str, work: Path, tokens: int) -> None:
    """Trains the size `name` on the first `tokens` of the corpus; exports it to `work/models`."""
    out = work / "models" / name
    if (out / "model.safetensors").exists():
        return
    folder = work / name
    folder.mkdir(exist_ok=True)
    run = Run(name, folder, np.load(work / "corpus.npy"), tokens)
    run.run()
    export(folder, out, work / "tokenizer")


class Run:
    """One size's model, optimizer and place in the text."""

    def __init__(self, name: str, folder: Path, ids: np.ndarray, tokens: int, seed: int = 1):
        """Goes on from the state in `folder` where there is one."""
        per_step = ROWS * LENGTH
        self.steps = tokens // per_step
        needed = self.steps * per_step + 1
        assert needed <= len(ids), f"the texts have {len(ids):,} tokens, {needed:,} are wanted"
        self.name, self.ids, self.state_file = name, ids, folder / "state.pt"
        torch.manual_seed(seed)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        config = SIZES[name]
        self.model = Decoder(config).to(self.device)
        # Logits add up over the stream's width, so the head's steps shrink as it grows (Yang et
        # al. 2022, "Tensor Programs V"); Muon's steps on the matrices need no such care.
        self.optimizer = Optimizer(self.model, head_rate=HEAD_RATE / config.hidden)
        for weight in self.model.parameters():
            weight.data = weight.data.to(working_type(self.device.type))
        self.step = 0
        if self.state_file.exists():
            state = load_state(self.state_file)
            self.optimizer.load_state(state["optimizer"])
            self.step = state["step"]
            print(f"{name}: resumed at step {self.step}", flush=True)
        self.gradients: LocalGradients | WorkerGradients = (
            LocalGradients(self.model)
            if self.device.type == "cuda"
            else WorkerGradients(self.model, count=torch.get_num_threads())
        )

    def run(self) -> None:
        """Trains to the last step, then saves."""
        saved = logged = time.monotonic()
        losses: list[Tensor] = []
        while self.step < self.steps:
            loss, gradients = self.gradients.compute(self._batch().to(self.device))
            clip(gradients)
            self.optimizer.step(gradients, rate_at(self.step / self.steps, self.step))
            self.step += 1
            losses.append(loss)
            now = time.monotonic()
            if now - logged > LOG_EVERY or self.step == self.steps:
                mean = torch.stack(losses).mean().item()
                print(
                    f"{self.name}  step {self.step:4d} of {self.steps}  loss {mean:.4f}", flush=True
                )
                losses.clear()
                logged = now
            if now - saved > SAVE_EVERY:
                self._save()
                saved = now
        self._save()
        self.gradients.close()

    def _batch(self) -> Tensor:
        """The next windows of the text, [ROWS, LENGTH + 1]."""
        first = self.step * ROWS * LENGTH
        windows = [
            self.ids[begin : begin + LENGTH + 1]
            for begin in range(first, first + ROWS * LENGTH, LENGTH)
        ]
        return torch.from_numpy(np.stack(windows).astype(np.int64))

    def _save(self) -> None:
        """Writes beside, then renames: a run cut short at any moment leaves a whole state."""
        state = {
            "config": asdict(self.model.config),
            "optimizer": self.optimizer.state(),
            "step": self.step,
        }
        beside = self.state_file.with_suffix(".new")
        with beside.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self.state_file)
