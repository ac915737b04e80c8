"""`lmtool explain`: why the next word is that one."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from ..ablation_options import AblationSettings
from ..answers import Prompt, as_json
from ..chat_options import ChatPromptOptions
from ..encoding import fitted_prompt
from ..explain_ablated import beside_the_whole
from ..explain_difference import (
    Compared,
    DifferenceOptions,
    compare_prompts,
    difference_object,
    difference_report,
)
from ..explain_json import Explained, as_object
from ..explain_options import Told, WhichPrediction
from ..model_options import ReadingModel
from ..opening import open_session
from ..option_groups import PromptOptions, TalkOptions
from ..options import open_terminal
from ..prompt import PendingPrompt, open_prompt
from ..prompt_words import Spelling
from ..sink import STDOUT, open_sink
from ..terminal import Terminal
from ..unfold import unfold

if TYPE_CHECKING:
    from ...engine.session import Session

ROUNDING = 1e-3
"""What the parts of a logit may fail to add up to before that is worth a word."""

EPILOG = """Examples:

lmtool explain "The fox jumped over the"

lmtool explain "The king and the" --answer " queen"

lmtool explain "Tom had a red ball. He gave the" --ablate text:ball

lmtool explain "Tom had a red ball. He gave the" --diff "Tom had a blue hat. He gave the"

lmtool explain -f story.txt --at -1 --json

lmtool explain "The king and the" -n 8 --html page.html

The guide docs/explaining.md says what each figure is, and how it is reckoned."""


@unfold
def explain(
    prompt: PromptOptions,
    which: WhichPrediction,
    chat: ChatPromptOptions,
    model: ReadingModel,
    ablation: AblationSettings,
    difference: DifferenceOptions,
    told: Told,
    talk: TalkOptions,
) -> int:
    """Show why the next word is that one: what each layer gathered and recalled.

    What the model would answer at each layer, and what attention and the MLP there add to it; the
    words of the prompt that it was gathered from; the neurons that recalled it.
    """
    terminal = open_terminal(talk.quiet, talk.verbose, talk.color)
    which.check()
    chat.check(prompt)
    ablation.check(prompt)
    difference.check(which, told)
    told.check()
    with ExitStack() as open:
        sink = open.enter_context(open_sink(told.output, terminal))
        page = None if told.html is None else open.enter_context(open_sink(told.html, terminal))
        pending = open_prompt(prompt, terminal)
        session = open_session(model, terminal)
        # Explaining what comes next takes no room for it; writing on does.
        most = 0 if which.tokens is None else which.tokens
        asked = fitted_prompt(session, pending, prompt, chat, most, terminal)
        seen, whole = asked.ids[: which.position(len(asked.ids))], session.decoder
        gone = ablation.apply(session, seen, prompt, terminal)
        stdout = terminal.stdout if told.output is None else None
        coloured = stdout is not None and terminal.paints(stdout)
        if difference.diff is not None:
            other = PendingPrompt(prompt, [], [difference.text(prompt.escape)])
            second = fitted_prompt(session, other, prompt, chat, most, terminal)
            watched = which.answer_id(session)
            compared = compare_prompts(session, asked, second, watched, told.top, gone)
            sink.write(_difference(compared, told, coloured))
            return 0
        found = _explained(session, asked, which, told)
        if gone:
            found = beside_the_whole(found, gone, whole, session.decoder, told.top)
        _doubt(found, terminal)
        sink.write(_explanation(found, told, coloured))
        if page is not None:
            page.write(_page(session, found, told))
    if told.html is not None and str(told.html) not in STDOUT:
        terminal.note(f"written: {told.html}")
    return 0


def _difference(found: Compared, told: Told, coloured: bool) -> str:
    if told.json:
        return as_json(difference_object(found)) + "\n"
    return difference_report(found, coloured)


def _explanation(found: Explained, told: Told, coloured: bool) -> str:
    from ..explain_report import as_report

    return as_json(as_object(found)) + "\n" if told.json else as_report(found, coloured)


def _page(session: Session, found: Explained, told: Told) -> str:
    """The page of --html, whose grid is read from the text once more."""
    from ...engine.lens.grid import lens_grid
    from ..explain_page import as_page, first_shown

    if not found.explanations:
        return as_page(found, [])
    ids = found.ids[: found.explanations[-1].position]
    return as_page(found, lens_grid(session.decoder, ids, first_shown(found), top=told.top))


def _explained(session: Session, asked: Prompt, which: WhichPrediction, told: Told) -> Explained:
    """The predictions that were asked about, each taken apart."""
    from ...engine.lens.explain import explain as explain_predictions

    ids = asked.ids
    answers: list[int | None]
    if which.tokens is None:
        positions, answers = [which.position(len(ids))], [which.answer_id(session)]
    else:
        written = _written(session, ids, which.tokens)
        positions = [len(ids) + place for place in range(len(written))]
        answers = list[int | None](written)
        ids = (*ids, *written)
    explanations = explain_predictions(
        session.decoder, ids, positions, answers, top=told.top, neurons=told.neurons
    )
    return Explained(asked, ids, explanations, session.card, Spelling(session.tokenizer))


def _written(session: Session, ids: tuple[int, ...], count: int) -> list[int]:
    """What the model goes on with, the likeliest token each."""
    from ...engine.request import Request, Stop

    request = Request(ids=ids, max_new=count, stop=Stop(eos=session.eos))
    return [token.id for token in session.generate(request)]


def _doubt(found: Explained, terminal: Terminal) -> None:
    """Say where the parts don't add up to the logit, as they do but for rounding."""
    worst = max((abs(one.parts.rounding) for one in found.explanations), default=0.0)
    if worst > ROUNDING:
        card = found.card
        kind, less = card.quant or card.dtype, "; --dtype float32 rounds less"
        terminal.warn(
            f"the parts add up to the logit only to {worst:.2g}: so much is rounded in {kind}"
            f"{less if card.dtype != 'float32' else ''}"
        )
