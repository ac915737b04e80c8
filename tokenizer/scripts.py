"""The script of every character of a text, and its words, over arrays.

Scripts are Unicode's (UAX #24). A character that many scripts share, such as a digit, a comma or a
combining mark, goes with the letters beside it: those before it in the same run without white
space, or else those after it. White space goes with the word after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SHARED = "none"
"""The script of a word without letters: numbers, marks, white space at a text's end."""
# Living scripts of many readers first, since the search ends when every character is found.
SCRIPTS = (
    SHARED,
    *("Latin", "Han", "Cyrillic", "Arabic", "Hiragana", "Katakana", "Hangul", "Devanagari"),
    *("Greek", "Hebrew", "Thai", "Bengali", "Tamil", "Ethiopic", "Armenian", "Georgian"),
    *("Telugu", "Gujarati", "Gurmukhi", "Kannada", "Malayalam", "Oriya", "Sinhala", "Khmer"),
    *("Lao", "Myanmar", "Tibetan", "Mongolian", "Thaana", "Syriac", "Cherokee", "Nko"),
    *("Canadian_Aboriginal", "Bopomofo", "Yi", "Tifinagh", "Javanese", "Balinese", "Sundanese"),
    *("Coptic", "Gothic", "Runic", "Ogham", "Braille", "Adlam", "Ahom", "Avestan", "Bamum"),
    *("Bassa_Vah", "Batak", "Bhaiksuki", "Brahmi", "Buginese", "Buhid", "Carian", "Chakma"),
    *("Caucasian_Albanian", "Cham", "Chorasmian", "Cuneiform", "Cypriot", "Cypro_Minoan"),
    *("Deseret", "Dives_Akuru", "Dogra", "Duployan", "Egyptian_Hieroglyphs", "Elbasan"),
    *("Anatolian_Hieroglyphs", "Elymaic", "Glagolitic", "Grantha", "Gunjala_Gondi", "Hanunoo"),
    *("Hanifi_Rohingya", "Hatran", "Imperial_Aramaic", "Inscriptional_Pahlavi", "Kaithi"),
    *("Inscriptional_Parthian", "Kawi", "Kayah_Li", "Kharoshthi", "Khitan_Small_Script"),
    *("Khojki", "Khudawadi", "Lepcha", "Limbu", "Linear_A", "Linear_B", "Lisu", "Lycian"),
    *("Lydian", "Mahajani", "Makasar", "Mandaic", "Manichaean", "Marchen", "Masaram_Gondi"),
    *("Medefaidrin", "Meetei_Mayek", "Mende_Kikakui", "Meroitic_Cursive", "Miao", "Modi"),
    *("Meroitic_Hieroglyphs", "Mro", "Multani", "Nabataean", "Nag_Mundari", "Nandinagari"),
    *("New_Tai_Lue", "Newa", "Nushu", "Nyiakeng_Puachue_Hmong", "Ol_Chiki", "Old_Hungarian"),
    *("Old_Italic", "Old_North_Arabian", "Old_Permic", "Old_Persian", "Old_Sogdian", "Osage"),
    *("Old_South_Arabian", "Old_Turkic", "Old_Uyghur", "Osmanya", "Pahawh_Hmong", "Palmyrene"),
    *("Pau_Cin_Hau", "Phags_Pa", "Phoenician", "Psalter_Pahlavi", "Rejang", "Samaritan"),
    *("Saurashtra", "Sharada", "Shavian", "Siddham", "SignWriting", "Sogdian", "Sora_Sompeng"),
    *("Soyombo", "Syloti_Nagri", "Tagalog", "Tagbanwa", "Tai_Le", "Tai_Tham", "Tai_Viet"),
    *("Takri", "Tangsa", "Tangut", "Tirhuta", "Toto", "Ugaritic", "Vai", "Vithkuqi", "Wancho"),
    *("Warang_Citi", "Yezidi", "Zanabazar_Square"),
    "other",
)
"""Names of the scripts by code; the last one stands for scripts younger than this table."""
UNSPACED = frozenset(
    {
        *("Han", "Hiragana", "Katakana", "Bopomofo", "Yi", "Thai", "Lao", "Khmer", "Myanmar"),
        *("Tibetan", "Javanese", "Balinese", "Tai_Le", "New_Tai_Lue", "Tai_Tham", "Tai_Viet"),
        *("Tangut", "Nushu", "Khitan_Small_Script", "Phags_Pa"),
    }
)
"""Scripts that are written without spaces between words."""

_UNKNOWN, _OTHER = 255, len(SCRIPTS) - 1
_WORDY, _SPACE = 1, 2


class Layout(NamedTuple):
    """A text taken apart. Arrays are by character, scripts are codes of `SCRIPTS`."""

    script: NDArray[np.uint8]
    size: NDArray[np.uint8]
    """Bytes of each character in UTF-8."""
    words: NDArray[np.int64]
    """How many words of each script there are, by code [scripts]."""

    @property
    def bytes(self) -> NDArray[np.int64]:
        """The text's bytes by script [scripts]."""
        return _added_up(self.script, self.size)

    @property
    def characters(self) -> NDArray[np.int64]:
        """The text's characters by script [scripts]."""
        return _added_up(self.script)


class ScriptTable:
    """Looks characters up, each new one once."""

    def __init__(self) -> None:
        import numpy as np

        self._script = np.full(0x110000, _UNKNOWN, np.uint8)
        self._kind = np.zeros(0x110000, np.uint8)
        self._unspaced = np.array([name in UNSPACED for name in SCRIPTS])

    def lay_out(self, texts: Sequence[str]) -> Layout:
        """The characters of `texts`, one after another; no word goes from one into the next.

        A word is what stands between white space and has a letter or digit of a script that is
        written with spaces.
        """
        import numpy as np

        points = np.frombuffer("".join(texts).encode("utf-32-le"), np.uint32)
        count = len(points)
        plain = self._script[points]
        if (plain == _UNKNOWN).any():
            self._learn({chr(point) for point in np.unique(points[plain == _UNKNOWN])})
            plain = self._script[points]
        kind = self._kind[points]
        space = (kind & _SPACE) > 0
        begins = np.array(space)
        begins[1:] &= ~space[:-1]
        ends_of_texts = np.cumsum([len(text) for text in texts])
        begins[[0, *(end for end in ends_of_texts if end < count)] if count else []] = True
        chunk = np.cumsum(begins, dtype=np.int32)
        script = _with_neighbours(plain, chunk)
        (wordy,) = np.nonzero(((kind & _WORDY) > 0) & ~self._unspaced[script])
        first = wordy[np.diff(chunk[wordy], prepend=0) != 0]
        size = 1 + np.searchsorted([0x80, 0x800, 0x10000], points, "right").astype(np.uint8)
        return Layout(script, size, _added_up(script[first]))

    def _learn(self, letters: set[str]) -> None:
        import regex

        for letter in letters:
            kind = _WORDY * letter.isalnum() + _SPACE * letter.isspace()
            self._kind[ord(letter)] = kind
        rest = "".join(letters)
        shared = regex.findall(r"[\p{Script=Common}\p{Script=Inherited}\p{Script=Unknown}]", rest)
        for code, name in enumerate(SCRIPTS[:-1]):
            found = shared if code == 0 else regex.findall(rf"\p{{Script={name}}}", rest)
            if found:
                self._script[[ord(letter) for letter in found]] = code
                letters = letters.difference(found)
                rest = "".join(letters)
            if not rest:
                return
        self._script[[ord(letter) for letter in rest]] = _OTHER


def _with_neighbours(plain: NDArray[np.uint8], chunk: NDArray[np.int32]) -> NDArray[np.uint8]:
    """Scripts by character, shared characters with the letters of their chunk."""
    import numpy as np

    count = len(plain)
    at = np.arange(count)
    scripted = plain != 0
    before = np.maximum.accumulate(np.where(scripted, at, -1)) if count else at
    after = np.minimum.accumulate(np.where(scripted, at, count)[::-1])[::-1] if count else at
    script = np.array(plain)
    for near in (np.minimum(after, count - 1), np.maximum(before, 0)):
        same = ~scripted & (chunk[near] == chunk) & scripted[near]
        script[same] = plain[near[same]]
    return script


def _added_up(
    script: NDArray[np.uint8], weights: NDArray[np.uint8] | None = None
) -> NDArray[np.int64]:
    import numpy as np

    return np.bincount(script, weights, minlength=len(SCRIPTS)).astype(np.int64)
