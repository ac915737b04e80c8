"""Comparisons, against what the tokenizers library and plain loops say of the same text."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as LibraryTokenizer

from lmtool import InputError
from lmtool.tokenizer import comparison
from lmtool.tokenizer.comparison import batches, compare
from lmtool.tokenizer.contrast import LONGEST_WORD, WordCounts
from lmtool.tokenizer.grouping import added_up, file_names, grouped
from lmtool.tokenizer.languages import LANGUAGES, language_of
from lmtool.tokenizer.scripts import SCRIPTS, SHARED, UNSPACED, ScriptTable
from reference.small_tokenizers import ALL, SAMPLES

NAMES = ("byte_level", "byte_fallback", "unigram", "word_piece")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    """Each sample as a file, and an empty one."""
    folder = tmp_path_factory.mktemp("texts")
    for name, text in SAMPLES.items():
        (folder / f"{name}.txt").write_bytes(text.encode())
    (folder / "empty.txt").touch()
    return tuple(sorted(folder.iterdir()))


@pytest.fixture(scope="module")
def compared(kinds, files):
    return compare([kinds[name].ours for name in NAMES], files)


def library_ids(tokenizer: LibraryTokenizer, text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False).ids


def test_tokens_are_those_of_the_library(compared, kinds, files) -> None:
    groups = grouped(compared.cells, compared.paths, "file", len(NAMES))
    assert [group.name for group in groups] == [path.name for path in files]
    for group, path in zip(groups, files, strict=True):
        text = path.read_bytes().decode()
        ids = [library_ids(kinds[name].nameless, text) for name in NAMES]
        assert group.tokens == tuple(map(len, ids)), path.name
        assert (group.bytes, group.characters) == (len(text.encode()), len(text))
        for place, found in enumerate(ids):
            wanted = len(text.encode()) / len(found) if found else None
            assert group.bytes_per_token(place) == wanted


def test_whatever_groups_the_text_has_they_add_up(compared) -> None:
    total = added_up("total", compared.cells, len(NAMES))
    assert total.bytes == sum(len(text.encode()) for text in SAMPLES.values())
    for by in ("file", "folder", "language", "script"):
        groups = grouped(compared.cells, compared.paths, by, len(NAMES))
        assert sum(group.bytes for group in groups) == total.bytes
        assert sum(group.words for group in groups) == total.words
        assert [sum(column) for column in zip(*(g.tokens for g in groups), strict=True)] == list(
            total.tokens
        )


@pytest.mark.parametrize("name", NAMES)
def test_tokens_count_for_the_script_that_they_begin_in(name: str, compared, kinds, files) -> None:
    """As the library's own offsets have it, which we seldom ask for."""
    counted = Counter[tuple[int, str]]()
    for cell in compared.cells:
        counted[cell.file, cell.script] = cell.tokens[NAMES.index(name)]
    for place, path in enumerate(files):
        text = path.read_bytes().decode()
        scripts, _ = naive_layout(text)
        library = kinds[name].nameless
        offsets = library.encode(text, add_special_tokens=False).offsets
        # Spelled in bytes, a part of a character begins where the character does.
        wanted = Counter(scripts[start] for start, _ in offsets)
        assert {s: counted[place, s] for s in {*scripts, *wanted}} == {
            s: wanted[s] for s in {*scripts, *wanted}
        }, path.name


def test_used_and_unused_tokens_are_counted(compared, kinds) -> None:
    for name, subject in zip(NAMES, compared.subjects, strict=True):
        library = kinds[name].reference
        nameless = kinds[name].nameless
        uses = Counter(id for text in SAMPLES.values() for id in library_ids(nameless, text))
        assert {id: int(n) for id, n in enumerate(subject.uses) if n} == uses
        special = {id for id, t in library.get_added_tokens_decoder().items() if t.special}
        unknown = {library.token_to_id(token) for token in ("<unk>", "[UNK]")}
        ordinary = set(library.get_vocab().values()) - special - unknown
        assert set(subject.unused) == ordinary - uses.keys()


def test_unknown_letters_are_told_from_bytes(compared, kinds) -> None:
    byte_level, byte_fallback, unigram, word_piece = compared.subjects
    assert byte_level.unknown_tokens == byte_fallback.unknown_tokens == 0
    for subject, name, token in (
        (unigram, "unigram", "<unk>"),
        (word_piece, "word_piece", "[UNK]"),
    ):
        library = kinds[name].reference
        tokens = size = 0
        for text in SAMPLES.values():
            encoded = kinds[name].nameless.encode(text, add_special_tokens=False)
            unknown = library.token_to_id(token)
            for id, (start, end) in zip(encoded.ids, encoded.offsets, strict=True):
                if id == unknown:
                    tokens += 1
                    size += len(text[start:end].encode())
        assert (subject.unknown_tokens, subject.unknown_bytes) == (tokens, size)
        assert tokens > 10
    lone = Counter(
        id for text in SAMPLES.values() for id in library_ids(kinds["byte_fallback"].nameless, text)
    )
    pieces = {f"<0x{byte:02X}>" for byte in range(0x80, 0x100)}
    library = kinds["byte_fallback"].reference
    assert byte_fallback.lone_bytes == sum(lone[library.token_to_id(piece)] for piece in pieces) > 0


def test_vocabularies_are_compared_by_bytes_not_by_spelling(tmp_path: Path) -> None:
    from tokenizers import decoders, models, pre_tokenizers

    from lmtool.tokenizer.tokenizer import Tokenizer

    spaces = LibraryTokenizer(models.BPE({"▁": 0, "t": 1, "▁t": 2, "é": 3}, [("▁", "t")]))
    spaces.pre_tokenizer, spaces.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    letters = LibraryTokenizer(models.BPE({"Ġ": 0, "t": 1, "Ġt": 2, "Ã©": 3, "x": 4}, [("Ġ", "t")]))
    letters.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    letters.decoder = decoders.ByteLevel()
    (tmp_path / "a.txt").write_text(" t")
    loaded: list[Tokenizer] = []
    for number, made in enumerate((spaces, letters)):
        made.save(str(tmp_path / f"{number}.json"))
        loaded.append(Tokenizer.load(tmp_path / f"{number}.json"))
    one, two = compare(loaded, [tmp_path / "a.txt"]).subjects
    overlap = one.overlap(two)
    assert (overlap.shared, overlap.first, overlap.second) == (4, 4, 5)
    assert overlap.jaccard == 4 / 5


def test_what_does_not_come_back_is_found(compared, files) -> None:
    byte_level, byte_fallback, unigram, word_piece = compared.subjects
    assert byte_level.faults == {}
    place = next(place for place, path in enumerate(files) if path.name == "english.txt")
    assert word_piece.faults[place].offset == 0  # capitals are lowered
    assert word_piece.faults[place].lines == 3
    # Unknown letters are lost from the first one on.
    place = next(place for place, path in enumerate(files) if path.name == "chinese.txt")
    assert unigram.faults[place].offset == 0
    specials = next(place for place, path in enumerate(files) if path.name == "specials.txt")
    text = SAMPLES["specials"]
    assert byte_fallback.faults[specials].offset == len(text[: text.index("▁")].encode())


def test_a_fault_far_into_a_file_is_named_by_its_own_offset(
    kinds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches are small here, so that the fault isn't in the first one."""
    monkeypatch.setattr(comparison, "BATCH", 100)
    rows = ["to read"] * 50 + ["To read"] + ["to read"] * 9
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (subject,) = compare([kinds["word_piece"].ours], [tmp_path / "rows.jsonl"]).subjects
    assert subject.tokens == 59 * len(library_ids(kinds["word_piece"].reference, rows[0])) + len(
        library_ids(kinds["word_piece"].reference, rows[50])
    )
    (fault,) = subject.faults.values()
    # Of the text that the rows hold, not of the JSON around it.
    assert (fault.lines, fault.offset) == (1, 50 * len("to read"))


def test_time_is_taken_of_encoding_alone(compared) -> None:
    for subject in compared.subjects:
        assert subject.bytes == sum(len(text.encode()) for text in SAMPLES.values())
        assert subject.timed_bytes == subject.bytes
        assert 0 < subject.seconds < 60
        assert subject.encoder == "tokenizers"


def test_long_texts_are_encoded_by_the_faster_library_to_the_same_counts(
    kinds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "all.txt").write_bytes((ALL * 10).encode())
    ours = [kinds["byte_level"].ours, kinds["unigram"].ours]
    slow = compare(ours, [tmp_path / "all.txt"])
    monkeypatch.setattr(comparison, "WORTH_IT", 1000)
    fast = compare(ours, [tmp_path / "all.txt"])
    assert [subject.encoder for subject in slow.subjects] == ["tokenizers"] * 2
    assert "gigatoken" in [subject.encoder for subject in fast.subjects]
    assert fast.cells == slow.cells
    for one, other in zip(fast.subjects, slow.subjects, strict=True):
        assert one.uses.tolist() == other.uses.tolist()
        assert one.faults == other.faults


# --- Scripts and words


def naive_layout(text: str) -> tuple[list[str], Counter[str]]:
    """Each character's script and the words of each script, letter by letter."""
    scripts: list[str] = []
    words: Counter[str] = Counter()
    # str.isspace knows more white space than regex's \s.
    marks = "".join(" " if letter.isspace() else "x" for letter in text)
    for chunk in regex.finditer(r" *x+| +", marks):
        letters = text[chunk.start() : chunk.end()]
        own = [naive_script(letter) for letter in letters]
        first = next((script for script in own if script), SHARED)
        last, here = first, []
        for script in own:
            last = script or last
            here.append(last)
        scripts += here
        wordy = [
            script
            for letter, script in zip(letters, here, strict=True)
            if letter.isalnum() and script not in UNSPACED
        ]
        words.update(wordy[:1])
    return scripts, words


def naive_script(letter: str) -> str | None:
    if regex.match(r"[\p{Script=Common}\p{Script=Inherited}\p{Script=Unknown}]", letter):
        return None
    known = (name for name in SCRIPTS[1:-1] if regex.match(rf"\p{{Script={name}}}", letter))
    return next(known, SCRIPTS[-1])


TABLE = ScriptTable()
LETTERS = st.sampled_from("aé 1,\n\u0301\u00a0漢字かーカäя。ก ไ\u2028٣😀")


@given(st.lists(st.text(LETTERS, min_size=1, max_size=12) | st.text(min_size=1, max_size=6)))
@settings(max_examples=150, deadline=None)
def test_scripts_and_words_are_those_of_a_plain_loop(texts: list[str]) -> None:
    layout = TABLE.lay_out(texts)
    naive = [naive_layout(text) for text in texts]
    assert [SCRIPTS[code] for code in layout.script] == [s for found, _ in naive for s in found]
    words = sum((counted for _, counted in naive), Counter[str]())
    assert {SCRIPTS[code]: int(n) for code, n in enumerate(layout.words) if n} == words
    assert layout.size.tolist() == [len(letter.encode()) for text in texts for letter in text]


def test_words_of_plain_text_are_what_split_gives() -> None:
    text = SAMPLES["english"] + SAMPLES["russian"] + SAMPLES["korean"]
    assert TABLE.lay_out([text]).words.sum() == len(text.split())


def test_every_script_of_the_table_is_one() -> None:
    for name in SCRIPTS[1:-1]:
        regex.compile(rf"\p{{Script={name}}}")
    assert set(SCRIPTS) > UNSPACED
    assert len(set(SCRIPTS)) == len(SCRIPTS) < 255


def test_tokens_a_word_leave_out_scripts_without_spaces(compared) -> None:
    groups = {g.name: g for g in grouped(compared.cells, compared.paths, "file", len(NAMES))}
    english, chinese = groups["english.txt"], groups["chinese.txt"]
    assert english.tokens_per_word(0) == english.tokens[0] / len(SAMPLES["english"].split())
    assert chinese.tokens_per_word(0) is None
    assert chinese.characters_per_token(0) is not None
    assert groups["empty.txt"].tokens_per_word(0) is None
    assert groups["empty.txt"].bytes_per_token(0) is None
    assert groups["empty.txt"].change(1) is None


# --- Batches


@given(
    st.lists(st.tuples(st.text(LETTERS, max_size=60), st.booleans()), max_size=12),
    st.sampled_from([("byte_level",), ("byte_level", "byte_fallback")]),
)
@settings(max_examples=60, deadline=None)
def test_batches_hold_all_of_the_text_and_keep_the_ids(kinds, parts, names) -> None:
    ours = [kinds[name].ours for name in names]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison, "BATCH", 40)
        found = list(batches(iter(parts), ours))
    texts = [""]
    for text, ends in parts:
        texts[-1] += text
        if ends:
            texts.append("")
    assert "".join(text for batch in found for text in batch) == "".join(texts)
    assert all(text for batch in found for text in batch)
    for tokenizer in ours:
        wanted = [id for ids in tokenizer.encode_plain([t for t in texts if t]) for id in ids]
        got = [id for batch in found for ids in tokenizer.encode_plain(batch) for id in ids]
        assert got == wanted


def test_long_text_comes_in_many_batches(kinds) -> None:
    pieces = [(SAMPLES["english"], False)] * 4000
    sizes = [sum(map(len, batch)) for batch in batches(iter(pieces), [kinds["byte_level"].ours])]
    assert len(sizes) > 2
    assert max(sizes) < 2 * comparison.BATCH


def test_a_text_without_a_place_to_cut_is_not_searched_again_and_again(kinds) -> None:
    searched = 0
    ours = kinds["byte_level"].ours
    whole = ours.cutter.place

    def count(text: str, start: int, longest: int) -> int | None:
        nonlocal searched
        searched += len(text)
        return whole(text, start, longest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ours.cutter, "place", count)
        (batch,) = batches(iter([("a" * 50_000, False)] * 40), [ours])
    assert sum(map(len, batch)) == 2_000_000
    assert searched < 5_000_000


# --- Where the text comes from


def test_samples_are_spread_over_the_files(kinds, tmp_path: Path) -> None:
    for name, times in (("a", 400), ("b", 100)):
        (tmp_path / f"{name}.txt").write_text(ALL * times)
    (tmp_path / "c.txt").touch()
    paths = sorted(tmp_path.iterdir())
    found = compare([kinds["byte_level"].ours], paths, sample_bytes=50_000)
    a, b, c = grouped(found.cells, found.paths, "file", 1)
    assert 40_000 < a.bytes < 50_000
    assert 10_000 <= b.bytes < 20_000
    assert c.bytes == 0


def test_bad_bytes_are_an_error_or_counted(kinds, tmp_path: Path) -> None:
    path = tmp_path / "bad.txt"
    path.write_bytes(b"fine\nna\xefve")
    ours = [kinds["byte_level"].ours]
    with pytest.raises(InputError, match="offset 7, line 2"):
        compare(ours, [path])
    (file,) = compare(ours, [path], errors="replace").files
    assert (file.bad, file.bad_offset, file.bad_line) == (1, 7, 2)
    found = compare(ours, [path], errors="skip")
    assert (found.files[0].bad, found.files[0].bytes, found.subjects[0].bytes) == (1, 9, 9)


def test_packed_files_count_as_what_is_in_them(kinds, tmp_path: Path) -> None:
    (tmp_path / "de.txt.gz").write_bytes(gzip.compress(SAMPLES["german"].encode()))
    found = compare([kinds["byte_level"].ours], [tmp_path / "de.txt.gz"])
    assert found.subjects[0].bytes == len(SAMPLES["german"].encode())
    (group,) = grouped(found.cells, found.paths, "language", 1)
    assert group.name == "German"


def test_nothing_at_all_is_compared_too(kinds, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    found = compare([kinds[name].ours for name in NAMES], [tmp_path / "empty"])
    assert found.cells == ()
    assert [subject.tokens for subject in found.subjects] == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("path", "language"),
    [
        ("udhr/fra.txt", "French"),
        ("udhr/cmn_hans.txt", "Chinese"),
        ("storybooks/de.txt.xz", "German"),
        ("news.ja.jsonl.gz", "Japanese"),
        ("corpus-pt.txt", "Portuguese"),
        ("sw/1.txt", "Swahili"),
        ("EN.txt", "English"),
        ("de", "German"),
        ("README.md", None),
        ("notes/story.txt", None),
        ("-", None),
    ],
)
def test_a_name_tells_the_language(path: str, language: str | None) -> None:
    assert language_of(Path(path)) == language


def test_no_code_stands_for_two_languages() -> None:
    from lmtool.tokenizer.languages import _TABLE

    codes = regex.findall(r"(?:^|\||\n)([a-z]{2,3}) ([a-z,]+) ", _TABLE)
    every = [code for short, long in codes for code in {short, *long.split(",")}]
    assert len(every) == len(set(every)) == len(LANGUAGES) > 300


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a/b/x.txt", "a/b/y.txt"], ["x.txt", "y.txt"]),
        (["a/b/x.txt", "a/c/x.txt"], ["b/x.txt", "c/x.txt"]),
        (["x.txt", "a/x.txt"], ["x.txt", "a/x.txt"]),
        (["/t/x.txt"], ["x.txt"]),
        (["-", "/t/x.txt"], ["stdin", "x.txt"]),
        (["x", "x"], ["x", "x"]),
    ],
)
def test_files_are_named_no_longer_than_it_takes(paths: list[str], names: list[str]) -> None:
    assert file_names(list(map(Path, paths))) == names


# --- Words


def test_words_are_counted_as_they_stand() -> None:
    words = WordCounts()
    words.add("the cat's cat, THE café; 漢字かな交じり")
    words.add("cat 3rd " + "x" * (LONGEST_WORD + 1))
    assert dict(words.most()) == {
        **{"the": 1, "cat's": 1, "cat": 2, "THE": 1, "café": 1, "3rd": 1},
        **{"漢字": 1, "かな": 1, "交": 1, "じり": 1},
    }
    assert next(words.most()) == ("cat", 2)


@given(st.text(st.characters(max_codepoint=0x7F)))
def test_words_of_plain_letters_are_found_alike_by_either_pattern(text: str) -> None:
    fast, slow = WordCounts(), WordCounts()
    fast.add(text)
    slow.add(text + " é")
    assert dict(fast.most()) == {word: n for word, n in slow.most() if word != "é"}


def test_the_rarest_words_are_forgotten_when_there_are_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lmtool.tokenizer.contrast.MOST_WORDS", 100)
    words = WordCounts()
    for number in range(1000):
        words.add(f"often w{number}")
    kept = dict(words.most())
    assert kept["often"] == 1000
    assert len(kept) <= 100


def test_words_are_ranked_by_what_the_difference_costs(compared, kinds) -> None:
    assert [contrast.second for contrast in compared.contrasts] == [1, 2, 3]
    contrast = compared.contrasts[0]
    costs = [word.cost for word in contrast.dearer]
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] > 0 > contrast.cheaper[0].cost
    for word in (*contrast.dearer, *contrast.cheaper):
        assert b"".join(word.first).strip() == word.word.encode()
        assert b"".join(word.second).strip() == word.word.encode()
    # Letters that a vocabulary doesn't have cost it nothing, which is no thrift.
    for contrast in compared.contrasts[1:]:
        assert contrast.cheaper or contrast.dearer
        for word in (*contrast.cheaper, *contrast.dearer):
            assert all(word.first)
            assert all(word.second)


def test_one_tokenizer_has_nothing_to_be_contrasted_with(kinds, files) -> None:
    assert compare([kinds["byte_level"].ours], files).contrasts == ()
    same = compare([kinds["byte_level"].ours] * 2, files)
    assert same.contrasts[0].dearer == same.contrasts[0].cheaper == ()
    assert same.subjects[0].overlap(same.subjects[1]).jaccard == 1
