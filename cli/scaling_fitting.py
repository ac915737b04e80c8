"""Makes the study of a scaling law: from models, which are measured for it, or from a CSV file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import InputError, UsageError
from .evaluate_options import Operands, WindowSettings, models_to_run
from .evaluating import Result, evaluate_texts, rereadable
from .fetching import find_model
from .model_options import ModelSettings
from .opening import open_session
from .scaling_options import Ahead, LawSettings
from .scaling_points import Measured, read_points
from .scaling_study import Study
from .sources import say_if_typing
from .terminal import Terminal

if TYPE_CHECKING:
    from ..engine.scaling.estimate import Foretold
    from ..engine.scaling.size_law import Points


def study_of_csv(path: Path, law: LawSettings, terminal: Terminal) -> Study:
    """The law of a CSV file's points: of size, or of size and data where D differs among them.

    Raises `InputError` for points that make no law, `UsageError` for predictions it can't make.
    """
    if str(path) == "-":
        say_if_typing(terminal, "points")
    table = read_points(path, total=law.params.value == "total")
    for name in table.unused:
        terminal.note(f"the column `{name}` isn't used")
    points = table.points
    params = "parameters" + (" with embeddings" if law.params.value == "total" else "")
    tokens = {one.tokens for one in points}
    if len(tokens) > 1:
        return _study_with_data(points, params, law.ahead, {"csv": str(path)})
    if tokens != {None}:
        terminal.note("all points have the same D: the law is fitted to size alone")
    errors = [one.error for one in points if one.error is not None]
    if errors and len(errors) < len(points):
        raise InputError(f"`{path}` has an error for {len(errors)} of {len(points)} points only")
    from ..engine.scaling.size_law import Points

    measured = Points.of([one.size for one in points], [one.loss for one in points], errors or None)
    over = ", with their losses' own errors" if errors else "; other text is not in them"
    law_of = _LawOf("", params, over, {"csv": str(path)})
    return _study(points, measured, law_of, law.ahead)


def study_of_models(
    texts: Operands,
    law: LawSettings,
    windows: WindowSettings,
    model: ModelSettings,
    terminal: Terminal,
) -> Study:
    """Measure the models on the texts, and fit the law of size.

    Raises what `study_of_csv` does, before anything is measured where that can be told by then.
    """
    from ..engine.scaling.size_law import Points

    total = law.params.value == "total"
    sized = [
        (_size(settings, terminal), settings) for settings in models_to_run(texts.models, model)
    ]
    sized.sort(key=lambda one: one[0].counted(total))
    counted = [size.counted(total) for size, _ in sized]
    Points.of(counted, [1.0] * len(counted)).check()
    _check_ahead(law.ahead)
    # One window for all: a model that saw more of the text would be ahead for that alone.
    window = windows.chosen(model.ctx_size.value or min(size.context for size, _ in sized))
    results: list[Result] = []
    with rereadable(texts.texts, len(sized), terminal) as paths:
        for _, settings in sized:
            session = open_session(settings, terminal)
            results.append(evaluate_texts(session, paths, texts, window, terminal))
            del session  # before the next one takes its memory
    losses = _Losses(results, terminal)
    points = [
        Measured(str(result.session_card["name"]), n, loss, None, error, float(size.total))
        for result, n, loss, error, (size, _) in zip(
            results, counted, losses.values, losses.errors, sized, strict=True
        )
    ]
    params = f"parameters {'with' if total else 'without'} embeddings"
    source = {
        "texts": list(results[0].losses),
        "window": window[0],
        "stride": window[1],
        "models": [result.as_json() for result in results],
    }
    law_of = _LawOf(losses.unit, params, losses.over, source)
    return _study(points, losses.points(counted), law_of, law.ahead)


class _LawOf(NamedTuple):
    """What a law is of, in words: see `Study`. `over` is what the intervals are over as well."""

    unit: str
    params: str
    over: str
    source: dict[str, Any]


class _Size(NamedTuple):
    non_embedding: int
    total: int
    context: int

    def counted(self, total: bool) -> float:
        """N."""
        return float(self.total if total else self.non_embedding)


def _size(settings: ModelSettings, terminal: Terminal) -> _Size:
    """A model's parameters and context, by its shapes alone."""
    from ..engine.facts import checkpoint_facts

    facts = checkpoint_facts(find_model(settings.model.value, settings.offline.value, terminal))
    parts, total = facts["parameters"]["by_part"], facts["parameters"]["total"]
    return _Size(total - parts["embed"] - parts["head"], total, facts["memory"]["context"])


class _Losses:
    """The models' losses, in bits a byte where their tokens differ."""

    def __init__(self, results: Sequence[Result], terminal: Terminal) -> None:
        self._totals = [result.total for result in results]
        tokens = self._totals[0].tokens
        self._alike = len({(one.vocabulary, one.total.tokens) for one in results}) == 1
        self.unit = "nats a token" if self._alike else "bits a byte"
        if not self._alike:
            terminal.warn(
                "the models cut the text into different tokens: losses are in bits a byte"
            )
        if tokens < results[0].window:
            terminal.warn(
                f"the text has {tokens + 1:,} tokens, less than a window of "
                f"{results[0].window:,}: losses on so little say little"
            )

    @property
    def values(self) -> list[float]:
        """A loss a model."""
        found = [one.mean if self._alike else one.bits_per_byte for one in self._totals]
        return [value or 0.0 for value in found]

    @property
    def errors(self) -> list[float | None]:
        """The standard error of each; None where the text is too short for one."""
        return [one.error if self._alike else one.bits_error for one in self._totals]

    def points(self, sizes: Sequence[float]) -> Points:
        """What the law is fitted to.

        The same text is as hard for all, if its tokens are the same. Of different tokens that
        can't be told, and their errors count as independent.
        """
        from ..engine.scaling.size_law import Points, text_deviations

        if self._alike:
            text = text_deviations([one.shares.sums for one in self._totals])
            return Points.of(sizes, self.values, text=text)
        errors = [error for error in self.errors if error is not None]
        whole = len(errors) == len(sizes)
        return Points.of(sizes, self.values, errors if whole else None)

    @property
    def over(self) -> str:
        """What intervals are over besides the models' scatter."""
        if None in self.errors:
            return "; other text is not in them, since this one is too short to tell"
        return ", measured on other text of the kind"


def _check_ahead(ahead: Sequence[Ahead]) -> None:
    for size, tokens in ahead:
        if tokens is not None:
            raise UsageError(
                f"--predict {size:g}:{tokens:g}: the law is of size alone", hint="leave `:D` out"
            )


def _study(
    points: Sequence[Measured], measured: Points, law_of: _LawOf, ahead: Sequence[Ahead]
) -> Study:
    from ..engine.scaling.size_law import fit_size_law, leave_out

    _check_ahead(ahead)
    fit = fit_size_law(measured)
    free = len(points) - 3
    basis = (
        f"95%, for models that might have been trained instead{law_of.over}. By "
        f"{len(fit.replicates.floor):,} parametric bootstraps; how far models scatter about the "
        f"law is judged from {free} degree{'s' * (free > 1)} of freedom, and how little that says "
        "is in the intervals. Whether the law holds beyond the sizes measured is not."
    )
    return Study(
        points,
        law_of.unit,
        law_of.params,
        basis,
        fit,
        leave_out(measured),
        [fit.foretell(size) for size, _ in ahead],
        law_of.source,
    )


def _study_with_data(
    points: Sequence[Measured], params: str, ahead: Sequence[Ahead], source: dict[str, Any]
) -> Study:
    from ..engine.scaling.data_law import Runs, fit_data_law, leave_largest_out

    for size, tokens in ahead:
        if tokens is None:
            raise UsageError(
                f"--predict {size:g}: the law has D in it", hint=f"add tokens, as in {size:g}:20B"
            )
    runs = Runs.of(
        [one.size for one in points],
        [one.tokens or 0.0 for one in points],
        [one.loss for one in points],
    )
    fit = fit_data_law(runs)
    basis = (
        f"95%, for other runs that might have been made: {len(fit.replicates.figures)} bootstraps "
        "that draw the points anew. Whether the law holds beyond them is not in the intervals."
    )
    predicted: list[Foretold] = [
        fit.foretell(size, tokens) for size, tokens in ahead if tokens is not None
    ]
    left_out = leave_largest_out(runs)
    return Study(points, "", params, basis, fit, left_out, predicted, source)
