"""Pieces of a unigram model, learned by sentencepiece from counted words."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, cast

from ... import InputError, UsageError
from ..pieces import METASPACE
from ..recipe import Recipe

LONGEST = 16
"""Characters of a piece, unless the recipe says."""
MOST = 1 << 20
"""Pieces that sentencepiece begins with, so that there can't be more in the end."""
THREADS = 4
"""Always as many, however many cores there are: sums are rounded by their order."""
_BREAKS = ("\n", "\t", "\r", "\0")
"""What a row of sentencepiece's input can't hold: bytes stand for it."""


def learn_pieces(
    words: Iterable[tuple[bytes, int]], recipe: Recipe, room: int
) -> list[tuple[str, float]]:
    """At most `room` pieces and the logarithms of their probabilities, likeliest first.

    Raises `UsageError` where sentencepiece isn't installed or there is no room.
    """
    try:
        import sentencepiece
    except ImportError as error:
        raise UsageError(
            "--unigram needs the sentencepiece package", hint="`pip install 'lmtool[unigram]'`"
        ) from error
    if room < 1:
        raise UsageError(f"--vocab-size {recipe.vocab_size} leaves no room for pieces")
    model = io.BytesIO()
    try:
        cast("Any", sentencepiece).SentencePieceTrainer.train(
            sentence_iterator=_rows(list(words), min(recipe.characters, room)),
            input_format="tsv",
            model_writer=model,
            model_type="unigram",
            vocab_size=min(room, MOST) + 1,  # and <unk>, which it needs
            hard_vocab_limit=False,
            character_coverage=1.0,
            max_sentencepiece_length=recipe.max_token_length or LONGEST,
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            split_by_unicode_script=False,
            split_by_number=False,
            bos_id=-1,
            eos_id=-1,
            pad_id=-1,
            num_threads=THREADS,
            minloglevel=2,
        )
    except RuntimeError as error:
        said = " ".join(str(error).split())
        raise InputError(f"sentencepiece can't learn from this text: {said[-160:]}") from error
    processor: Any = cast("Any", sentencepiece).SentencePieceProcessor(model_proto=model.getvalue())
    found = [
        (processor.id_to_piece(number), processor.get_score(number))
        for number in range(processor.get_piece_size())
        if not (processor.is_control(number) or processor.is_unknown(number))
    ]
    found.sort(key=lambda piece: (-piece[1], piece[0]))
    return found[:room]


def _rows(words: list[tuple[bytes, int]], most: int) -> Iterator[str]:
    """Rows of a word, a tab, and how often it occurs; characters that stay to bytes part words."""
    # What stands for a space is needed, though the text may have none.
    words = [*words, (METASPACE.encode(), 1)]
    totals: Counter[str] = Counter()
    for word, count in words:
        for letter in word.decode():
            totals[letter] += count
    ranked = sorted(
        totals.keys() - set(_BREAKS),
        key=lambda letter: (letter != METASPACE, -totals[letter], letter),
    )
    left_out = totals.keys() - set(ranked[:most])
    letters = "".join(map(re.escape, sorted(left_out)))
    border = re.compile(f"[{letters}]+" if left_out else "(?!)")
    for word, count in words:
        text = word.decode()
        for part in border.split(text):
            if part:
                yield f"{part}\t{count}"
