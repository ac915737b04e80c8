"""Text in many scripts, and small tokenizers of every kind made from it with the library itself."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

# Made up for these tests: one line a script, and what breaks tokenizers: marks that combine,
# letters outside the basic plane, joined emoji, spaces of all kinds, no final line break.
SAMPLES: dict[str, str] = {
    "english": "The old lighthouse keeper didn't sleep; he'd 1,234 letters to read.\n" * 3,
    "german": "Straße, Öl und Übermut: „Äpfel“ kosten 3,50 €.\r\n\r\nZweite Zeile.",
    "greek": "Ο παλιός φάρος έβλεπε τη θάλασσα.\n",
    "russian": "Старый маяк смотрел на море, и море молчало.\n",
    "hebrew": "הַמִּגְדַּלּוֹר הַיָּשָׁן הִבִּיט אֶל הַיָּם.\n",
    "arabic": "المنارة القديمة تطل على البحر.\n",
    "hindi": "पुराना प्रकाशस्तंभ समुद्र को देखता था।\n",
    "thai": "ประภาคารเก่ามองดูทะเล\n",
    "tamil": "பழைய கலங்கரை விளக்கம் கடலைப் பார்த்தது.\n",
    "chinese": "老灯塔望着大海,海没有说话。\n",
    "japanese": "むかしむかし、あるところに古い灯台がありました。\n",
    "korean": "오래된 등대가 바다를 바라보았다.\n",
    # ruff: noqa: RUF001  letters that look alike are the point here
    "emoji": "👩‍👩‍👧‍👦 and 🏳️‍🌈, 🇯🇵🇩🇪, a 𝔉𝔯𝔞𝔨𝔱𝔲𝔯 word, e\u0301 is not é",
    "spaces": "  two\tspaces\u00a0and\u3000wide \n\n\n  \t end  ",
    "code": "def f(x):\n    return {'a': x[0] != 1}  # ok\n\n\nclass A: ...\n",
    "specials": "<|endoftext|> and <s>, </s>, <unk>, <0x41>, ▁ and Ġ stay what they are",
    "controls": "nul \x00 bell \x07 escape \x1b[31m delete \x7f line \u2028 mark \ufeff end \ufffd",
}
ALL = "\n".join(SAMPLES.values())

UDHR = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "udhr"


def texts() -> dict[str, str]:
    """The samples, and where the data lies beside the checkout also its fifteen languages."""
    return SAMPLES | {
        path.stem: path.read_bytes().decode("utf-8") for path in sorted(UDHR.glob("*.txt"))
    }


def byte_level() -> Tokenizer:
    """GPT-2's kind: letters for bytes, no begin-of-text token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator([ALL], trainer)
    # Not special, with letters that byte-level spelling uses for other bytes.
    tokenizer.add_tokens([AddedToken("<tool> é", normalized=False)])
    return tokenizer


def byte_fallback() -> Tokenizer:
    """Llama 2's kind: spaces as ▁, one put first, raw bytes for letters without a piece."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    trainer = trainers.BpeTrainer(vocab_size=200, show_progress=False)
    trained.train_from_iterator([SAMPLES["english"], SAMPLES["greek"]], trainer)
    learned = sorted(trained.get_vocab().items(), key=lambda item: item[1])
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    names += [piece for piece, _ in learned]
    merges = [
        (a, b)
        for piece, _ in learned
        for a, b in [(piece[:cut], piece[cut:]) for cut in range(1, len(piece))]
        if a in trained.get_vocab() and b in trained.get_vocab()
    ]
    vocabulary = {piece: id for id, piece in enumerate(names)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
    )
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    return tokenizer


def unigram() -> Tokenizer:
    """T5's kind: a unigram model over ▁-marked words, an end token after each text."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=260,
        special_tokens=["<pad>", "</s>", "<unk>"],
        unk_token="<unk>",
        show_progress=False,
    )
    tokenizer.train_from_iterator([SAMPLES["english"], SAMPLES["code"], SAMPLES["greek"]], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    return tokenizer


def word_piece() -> Tokenizer:
    """BERT's kind: lower case, ## for what continues a word, tokens around each text."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=240, special_tokens=["[UNK]", "[CLS]", "[SEP]"], show_progress=False
    )
    tokenizer.train_from_iterator([SAMPLES["english"], SAMPLES["code"]], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return tokenizer


def nameless(tokenizer: Tokenizer) -> Tokenizer:
    """The same, but no text spells its special tokens: to it they are text like any other."""
    state = json.loads(tokenizer.to_str())
    special = [token for token in state["added_tokens"] if token["special"]]
    names = {token["content"]: "\uf8ff" * (2 + at) for at, token in enumerate(special)}
    for token in special:
        token["content"] = names[token["content"]]
    model = state["model"]
    if isinstance(model["vocab"], dict):
        model["vocab"] = {names.get(piece, piece): id for piece, id in model["vocab"].items()}
    else:
        model["vocab"] = [(names.get(piece, piece), score) for piece, score in model["vocab"]]
    if "unk_token" in model:
        model["unk_token"] = names.get(model["unk_token"], model["unk_token"])
    return Tokenizer.from_str(json.dumps(state))


KINDS = {
    "byte_level": byte_level,
    "byte_fallback": byte_fallback,
    "unigram": unigram,
    "word_piece": word_piece,
}
