"""One model in several processes: the first leads, and the others do as it says.

The first has the prompts, the loop and the sampler, all as if it were alone; only its decoder tells
the others what it runs before it runs its own share of it. So every token is chosen once, nothing
depends on the others being in the same state as the first, and all commands work alike.
"""

from __future__ import annotations

import weakref
from collections.abc import Generator
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

from .. import LmtoolError, UsageError
from .cache.doings import listen
from .cache.layout import KVCache
from .device import find_device, find_dtype, memory_errors
from .launch import alone, launched
from .matrix import Placement
from .mesh import Mesh, OthersGoneError
from .model.decoder import Decoder
from .model.passing import Pass
from .parallel import Plan, joined
from .quant.kinds import Quant
from .spec import ModelSpec
from .step import Step
from .weights.adapted import Adapted
from .weights.adapter import Lora
from .weights.checkpoint import Checkpoint, open_checkpoint
from .weights.load import WeightReader, load_decoder
from .weights.shapes import adapt


@dataclass(frozen=True)
class Load:
    """Load a share of a checkpoint, as `Session.load` was asked to."""

    path: Path
    device: str
    dtype: str
    quant: Quant | None
    loras: tuple[Lora, ...]
    threads: int | None
    compiled: bool = False


@dataclass(frozen=True)
class Doing:
    """What was done to a cache by its number: a method's name and arguments.

    Its making has its kind and which model's it is; `gone` caches are forgotten.
    """

    cache: int
    method: str
    arguments: tuple[Any, ...] = ()
    kind: type[Any] | None = None
    model: int = 0


@dataclass(frozen=True)
class Run:
    """Do what was done to caches, then run a step, to its logits if they are `answered`.

    The step's tensors are lists.
    """

    doings: tuple[Doing, ...]
    model: int
    cache: int
    step: Step
    answered: bool


@dataclass(frozen=True)
class Answer:
    """Have the head answer to hidden states."""

    model: int
    hidden: Tensor


@dataclass(frozen=True)
class End:
    """There is no more work; the exit code of the first."""

    code: int


Message: TypeAlias = Load | Run | Answer | End


class Leader:
    """The first process's hold of the others."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self._specs: list[ModelSpec] = []
        self._caches = weakref.WeakKeyDictionary[object, int]()
        self._made = 0
        self._doings: list[Doing] = []
        self._apart = False
        listen(self._note)

    def load(self, order: Load, checkpoint: Checkpoint, adapted: Adapted | None) -> Loaded:
        """Have all load their share of a checkpoint, which is opened here already."""
        with self.together():
            self.mesh.tell(order)
        decoder, reader = self.mesh.agreed(lambda: _share(order, checkpoint, adapted, self.mesh))
        self._specs.append(decoder.spec)
        return Led(decoder, self, len(self._specs) - 1), reader

    def run(self, model: int, step: Step, cache: KVCache, answered: bool) -> None:
        """Have the others run a step beside this process."""
        number = self._caches.get(cache)
        assert number is not None, "the others have no such cache"
        doings, self._doings = tuple(self._doings), []
        self.mesh.tell(Run(doings, model, number, _listed(step), answered))

    @contextmanager
    def together(self) -> Generator[None]:
        """What all do together; broken off, they can do nothing more together."""
        if self._apart:
            raise LmtoolError("the model's processes are out of step: a step was broken off")
        self._apart = True
        yield
        self._apart = False

    def leave(self, code: int) -> None:
        """End the others with an exit code."""
        self.mesh.leave(code)
        if not self._apart:
            with suppress(LmtoolError):  # they may have ended already
                self.mesh.tell(End(code))

    def _note(self, cache: object, method: str, arguments: tuple[Any, ...]) -> None:
        """Take note of what is done to a cache of one of the models."""
        if method != "__init__":
            if cache in self._caches:
                assert method != "hold", "what others have cached isn't here to be given"
                # Lists may grow before they are sent.
                self._doings.append(Doing(self._caches[cache], method, deepcopy(arguments)))
            return
        spec, *rest = arguments
        model = next((n for n, known in enumerate(self._specs) if known is spec), None)
        if model is None:
            return
        self._made += 1
        self._caches[cache] = self._made
        self._doings.append(Doing(self._made, method, tuple(rest), type(cache), model))
        weakref.finalize(cache, self._doings_of_the_dead, self._made)

    def _doings_of_the_dead(self, number: int) -> None:
        self._doings.append(Doing(number, "gone"))


class Led(Decoder):
    """The first process's share of a model, which has the others run theirs beside it."""

    def __init__(self, share: Decoder, leader: Leader, number: int) -> None:
        vars(self).update(vars(share))
        self._leader, self._number = leader, number

    def __call__(self, step: Step, cache: KVCache) -> Tensor:
        """See `Decoder`."""
        with self._leader.together(), torch.inference_mode():
            self._leader.run(self._number, step, cache, answered=True)
            hidden = self._through(step, cache)
            return super().logits(hidden if step.wanted is None else hidden[step.wanted])

    def hidden(self, step: Step, cache: KVCache) -> Tensor:
        """See `Decoder`."""
        with self._leader.together():
            self._leader.run(self._number, step, cache, answered=False)
            return self._through(step, cache)

    def logits(self, hidden: Tensor) -> Tensor:
        """See `Decoder`."""
        with self._leader.together():
            self._leader.mesh.tell(Answer(self._number, hidden.cpu()))
            return super().logits(hidden)

    def begin(self, step: Step, cache: KVCache) -> tuple[Tensor, Pass]:
        """Refused: whoever looks into a model layer by layer needs all of it."""
        alone("looking into a model layer by layer")
        return super().begin(step, cache)

    def _through(self, step: Step, cache: KVCache) -> Tensor:
        x, shared = super().begin(step, cache)
        for block in self.blocks:
            x = block(x, shared)
        return x


Loaded: TypeAlias = tuple[Led, WeightReader]

_leaders: list[Leader] = []


def leader() -> Leader:
    """The one that leads, which this process is; it joins the others at the first call."""
    if not _leaders:
        mesh = Mesh.find()
        if mesh.rank != 0:
            raise UsageError("only the first process loads a model", hint="the others `follow`")
        mesh.begin()
        _leaders.append(Leader(mesh))
    return _leaders[0]


def load_here(
    order: Load, checkpoint: Checkpoint, adapted: Adapted | None
) -> tuple[Decoder, WeightReader]:
    """Load a checkpoint that is opened, or this process's share of it where several share it."""
    if launched() is not None:
        if order.compiled:
            alone("--compile")
        return leader().load(order, checkpoint, adapted)
    placement = Placement(constant=True) if order.compiled else None
    device, dtype = find_device(order.device), find_dtype(order.dtype)
    return load_decoder(checkpoint, dtype, device, placement, order.quant, adapted)


def leave(code: int) -> None:
    """The first process ends: let the others end too, even if they had nothing to do."""
    if _leaders:
        _leaders[0].leave(code)
    elif launched() is not None:
        Mesh.find().leave(code)


def follow() -> int:
    """Do as the first process says, until it ends; gives its exit code.

    Raises `LmtoolError` for what goes wrong here, which the first then tells its user.
    """
    mesh = Mesh.find()
    code = mesh.awaited()
    if code is not None:
        return code
    try:
        mesh.begin()
        return _Follower(mesh).obey()
    except OthersGoneError:
        return mesh.code()
    except LmtoolError as error:
        mesh.fail(error)
        raise
    except Exception as error:
        told = LmtoolError(f"unexpected {type(error).__name__} in process {mesh.rank}: {error}")
        mesh.fail(told)
        raise told from error


class _Follower:
    """A process that isn't the first, with its shares of models and of what they cache."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self._models: list[Decoder] = []
        self._caches: dict[int, Any] = {}

    def obey(self) -> int:
        """Do what is said, until the end."""
        while True:
            message: Message = self._mesh.heard()
            if isinstance(message, End):
                return message.code
            if isinstance(message, Load):
                self._load(message)
                continue
            with torch.inference_mode(), memory_errors("generating"):
                if isinstance(message, Run):
                    self._run(message)
                else:
                    model = self._models[message.model]
                    model.logits(message.hidden.to(model.device))

    def _load(self, order: Load) -> None:
        def share() -> tuple[Decoder, WeightReader]:
            if order.threads is not None:
                torch.set_num_threads(order.threads)
            checkpoint = open_checkpoint(order.path)
            adapted = adapt(checkpoint, order.loras)
            if adapted is not None:
                checkpoint = adapted.checkpoint
            return _share(order, checkpoint, adapted, self._mesh)

        try:
            decoder, _ = self._mesh.agreed(share)
        except LmtoolError:
            return  # all know of it
        self._models.append(decoder)

    def _run(self, message: Run) -> None:
        for doing in message.doings:
            self._do(doing)
        model = self._models[message.model]
        step = _placed(message.step, model.device)
        hidden = model.hidden(step, self._caches[message.cache])
        if message.answered:
            model.logits(hidden if step.wanted is None else hidden[step.wanted])

    def _do(self, doing: Doing) -> None:
        if doing.method == "gone":
            self._caches.pop(doing.cache, None)
        elif doing.kind is not None:
            model = self._models[doing.model]
            own = [model.device if isinstance(x, torch.device) else x for x in doing.arguments]
            self._caches[doing.cache] = doing.kind(model.spec, *own)
        else:
            getattr(self._caches[doing.cache], doing.method)(*doing.arguments)


def _share(
    order: Load, checkpoint: Checkpoint, adapted: Adapted | None, mesh: Mesh
) -> tuple[Decoder, WeightReader]:
    """A checkpoint's share of this process."""
    plan = Plan(checkpoint.spec, mesh.rank, mesh.size)
    with memory_errors("loading the weights"):
        device, dtype = _own_device(order.device), find_dtype(order.dtype)
        decoder, reader = load_decoder(checkpoint, dtype, device, None, order.quant, adapted, plan)
    joined(decoder, plan, mesh)
    return decoder, reader


def _own_device(name: str) -> torch.device:
    """The device of this process: all are CPUs, or each has a GPU of its own."""
    device = find_device(name)
    if device.type == "cpu":
        return device
    launch = launched()
    assert launch is not None
    count = torch.cuda.device_count() if device.type == "cuda" else 0
    if count < launch.here:
        raise UsageError(
            f"{launch.here} processes need a GPU each, and there are {count}",
            hint="use --device cpu",
        )
    torch.cuda.set_device(launch.local)
    return torch.device("cuda", launch.local)


def _listed(step: Any) -> Any:
    """A step whose tensors are lists, which take less to send."""
    wanted = None if step.wanted is None else step.wanted.tolist()
    return replace(step, ids=step.ids.tolist(), positions=step.positions.tolist(), wanted=wanted)


def _placed(step: Any, device: torch.device) -> Step:
    """The step that `_listed` made a list of."""
    ids, positions, wanted = (
        None if numbers is None else torch.tensor(numbers, dtype=torch.int64, device=device)
        for numbers in (step.ids, step.positions, step.wanted)
    )
    return replace(step, ids=ids, positions=positions, wanted=wanted)
