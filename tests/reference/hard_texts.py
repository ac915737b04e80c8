"""Text on which tokenizers part: every script, joiners, controls, runs, decomposed letters."""

from __future__ import annotations

from random import Random

from hypothesis import strategies as st

from .small_tokenizers import SAMPLES, texts

# ruff: noqa: RUF001  letters that look alike are the point here
LETTERS = (
    "aAbcsSdmtTéÉ'’ \n\r\t  0123٣½①\u0301\u0323\u200d\u200b👩‍\ufe0f\u3000ſKﬁ漢字ひらカ"
    "ﾅ각\u1100\u1161한"
    "!?/.,-_()[]{}<>|\x00\x1b\x7f\x85\u2028\ufeffßǅʰـａＡ▁Ġ\u09c7\u09be\ufffd\U000e0001"
)
RUNS = ("a" * 3000, " " * 3000 + "x", "ab" * 1500, "\n" * 300 + " ", "x\n  ", "1" * 50, "▁" * 40)
RUNS += ("", " ", "  ", "\n", "\t", " a", "  a", "a ", "a  b", "\x00", "a\x00b", "🏳️‍🌈" * 30)

any_text = (
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
    | st.text(st.sampled_from(LETTERS), max_size=40)
    | st.sampled_from([*SAMPLES.values(), *RUNS])
)


def hard_texts(random_texts: int = 300, longest: int | None = None) -> list[str]:
    """All languages, the samples, runs, and `random_texts` made of awkward letters.

    Of each language the first `longest` letters.
    """
    random = Random(7)
    made = [
        "".join(random.choices(LETTERS, k=random.randrange(1, 40))) for _ in range(random_texts)
    ]
    return [*(text[:longest] for text in texts().values()), *RUNS, *made]
