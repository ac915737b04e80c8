"""The training loop: resumable, ended by the clock, its state saved every few minutes."""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mixture import Mixture
from model import Decoder, ModelConfig
from optimizer import Optimizer
from precision import working_type
from schedule import final_mix, phase_at, rate_at
from workers import LocalGradients, WorkerGradients

SAVE_EVERY = 180.0  # seconds
LOG_EVERY = 20.0
CLIP = 1.0


@dataclass
class Progress:
    """How far a run has come; `seconds` is time spent in training steps alone."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0


class Trainer:
    """A run in the folder `work`, which holds the encoded corpus and the state."""

    def __init__(self, work: Path, config: ModelConfig, hours: float, seed: int = 1) -> None:
        """Opens the corpus and, where there is one, the saved state."""
        torch.manual_seed(seed)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.hours = hours
        self.state_file = work / "state.pt"
        self.model = Decoder(config).to(self.device)
        self.optimizer = Optimizer(self.model)  # copies the weights while they are float32
        for weight in self.model.parameters():
            weight.data = weight.data.to(working_type(self.device.type))
        self.mixture = Mixture(work / "corpus", seed)
        self.progress = Progress()
        if self.state_file.exists():
            self._resume()
        if self.device.type == "cuda":
            self.gradients: LocalGradients | WorkerGradients = LocalGradients(self.model)
        else:
            self.gradients = WorkerGradients(self.model, count=torch.get_num_threads())

    def run(self) -> None:
        """Trains until the hours are used up, then saves."""
        saved = logged = time.monotonic()
        losses: list[Tensor] = []
        compiled_lengths: set[int] = set()
        since = (self.progress.tokens, self.progress.seconds)
        while (done := self.progress.seconds / (self.hours * 3600)) < 1.0:
            length = phase_at(done).length
            began = time.monotonic()
            losses.append(self._step(done))
            took = time.monotonic() - began
            # The first step of a length compiles the model for it: not training.
            self.progress.seconds += took if length in compiled_lengths else 0.0
            compiled_lengths.add(length)
            now = time.monotonic()
            if now - logged > LOG_EVERY:
                self._log(done, losses, since)
                since = (self.progress.tokens, self.progress.seconds)
                losses.clear()
                logged = now
            if now - saved > SAVE_EVERY:
                self._save()
                saved = now
        self._save()

    def _step(self, done: float) -> Tensor:
        """One step of the optimizer -> its mean loss."""
        phase = phase_at(done)
        rows = phase.tokens // phase.length
        batch = self.mixture.batch(rows, phase.length, final_mix(done)).to(self.device)
        loss, gradients = self.gradients.compute(batch)
        clip(gradients)
        self.optimizer.step(gradients, rate_at(done, self.progress.step))
        self.progress.step += 1
        self.progress.tokens += rows * phase.length
        return loss

    def _log(self, done: float, losses: list[Tensor], since: tuple[int, float]) -> None:
        p = self.progress
        speed = (p.tokens - since[0]) / max(p.seconds - since[1], 1e-9)
        loss = torch.stack(losses).mean().item()
        print(
            f"{done:6.1%}  step {p.step:5d}  {p.tokens / 1e6:6.2f} M tokens  "
            f"length {phase_at(done).length:4d}  loss {loss:.4f}  {speed:6.0f} tokens/s",
            flush=True,
        )

    def _save(self) -> None:
        """Writes beside, then renames: a run cut short at any moment leaves a whole state."""
        state = {
            "config": asdict(self.model.config),
            "optimizer": self.optimizer.state(),
            "mixture": self.mixture.state(),
            "progress": asdict(self.progress),
        }
        beside = self.state_file.with_suffix(".new")
        with beside.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self.state_file)

    def _resume(self) -> None:
        state = load_state(self.state_file)
        self.optimizer.load_state(state["optimizer"])
        self.mixture.load_state(state["mixture"])
        self.progress = Progress(**state["progress"])
        print(f"resumed at step {self.progress.step}", flush=True)


def load_state(file: Path) -> dict[str, Any]:
    """A saved state, on the processor."""
    return torch.load(file, map_location="cpu", weights_only=True)


def clip(gradients: dict[str, Tensor]) -> None:
    """Scales all gradients so that their joint norm is at most CLIP."""
    norm = torch.stack([g.norm() for g in gradients.values()]).norm()
    scale = torch.clamp(CLIP / (norm + 1e-6), max=1.0)
    for gradient in gradients.values():
        gradient.mul_(scale)
