"""The language that a file's name tells: `fra.txt`, `de.txt.xz`, `news.ja.jsonl`, `pt/a.txt`."""

from __future__ import annotations

import re
from pathlib import Path

from .opening import STDIN

# ISO 639-1, ISO 639-2 or -3 as corpora use them, and the name in English.
_TABLE = """
aa aar Afar|ab abk Abkhazian|af afr Afrikaans|ak aka Akan|am amh Amharic|an arg Aragonese
ar ara,arb Arabic|as asm Assamese|av ava Avaric|ay aym,ayr Aymara|az aze,azj Azerbaijani
ba bak Bashkir|be bel Belarusian|bg bul Bulgarian|bi bis Bislama|bm bam Bambara|bn ben Bengali
bo bod,tib Tibetan|br bre Breton|bs bos Bosnian|ca cat Catalan|ce che Chechen|ch cha Chamorro
co cos Corsican|cs ces,cze Czech|cv chv Chuvash|cy cym,wel Welsh|da dan Danish|de deu,ger German
dv div Dhivehi|dz dzo Dzongkha|ee ewe Ewe|el ell,gre Greek|en eng English|eo epo Esperanto
es spa Spanish|et est,ekk Estonian|eu eus,baq Basque|fa fas,per,pes Persian|ff ful,fuf Fulah
fi fin Finnish|fj fij Fijian|fo fao Faroese|fr fra,fre French|fy fry Western Frisian
ga gle Irish|gd gla Scottish Gaelic|gl glg Galician|gn grn,gug Guarani|gu guj Gujarati
gv glv Manx|ha hau Hausa|he heb Hebrew|hi hin Hindi|hr hrv Croatian|ht hat Haitian Creole
hu hun Hungarian|hy hye,arm Armenian|ia ina Interlingua|id ind Indonesian|ig ibo Igbo
is isl,ice Icelandic|it ita Italian|iu iku,ike Inuktitut|ja jpn Japanese|jv jav Javanese
ka kat,geo Georgian|kg kon Kongo|ki kik Kikuyu|kk kaz Kazakh|kl kal Greenlandic|km khm Khmer
kn kan Kannada|ko kor Korean|ks kas Kashmiri|ku kur,kmr Kurdish|ky kir Kyrgyz|la lat Latin
lb ltz Luxembourgish|lg lug Ganda|ln lin Lingala|lo lao Lao|lt lit Lithuanian|lv lav,lvs Latvian
mg mlg,plt Malagasy|mi mri,mao Maori|mk mkd,mac Macedonian|ml mal Malayalam|mn mon,khk Mongolian
mr mar Marathi|ms msa,may,zsm Malay|mt mlt Maltese|my mya,bur Burmese|nb nob Norwegian Bokmål
ne nep,npi Nepali|nl nld,dut Dutch|nn nno Norwegian Nynorsk|no nor Norwegian|nv nav Navajo
ny nya Chichewa|oc oci Occitan|om orm Oromo|or ori,ory Odia|os oss Ossetian|pa pan Punjabi
pl pol Polish|ps pus,pbu Pashto|pt por Portuguese|qu que Quechua|rm roh Romansh|rn run Rundi
ro ron,rum Romanian|ru rus Russian|rw kin Kinyarwanda|sa san Sanskrit|sc srd Sardinian
sd snd Sindhi|se sme Northern Sami|sg sag Sango|si sin Sinhala|sk slk,slo Slovak|sl slv Slovenian
sm smo Samoan|sn sna Shona|so som Somali|sq sqi,alb,als Albanian|sr srp Serbian|ss ssw Swati
st sot Sotho|su sun Sundanese|sv swe Swedish|sw swa,swh Swahili|ta tam Tamil|te tel Telugu
tg tgk Tajik|th tha Thai|ti tir Tigrinya|tk tuk Turkmen|tl tgl,fil Tagalog|tn tsn Tswana
to ton Tongan|tr tur Turkish|ts tso Tsonga|tt tat Tatar|ty tah Tahitian|ug uig Uyghur
uk ukr Ukrainian|ur urd Urdu|uz uzb,uzn Uzbek|ve ven Venda|vi vie Vietnamese|wo wol Wolof
xh xho Xhosa|yi yid,ydd Yiddish|yo yor Yoruba|za zha,ccx Zhuang|zh zho,chi,cmn Chinese
zu zul Zulu|yue yue Cantonese
"""
LANGUAGES: dict[str, str] = {
    code: name
    for row in re.split(r"[|\n]", _TABLE.strip())
    for short, long, name in [row.split(" ", 2)]
    for code in (short, *long.split(","))
}
"""English names by code of two or three letters."""

_BEGINS = re.compile(r"^([a-z]{2,3})(?:[-_].*)?$", re.IGNORECASE)
_ENDS = re.compile(r"[-_]([a-z]{2,3})$", re.IGNORECASE)


def language_of(path: Path) -> str | None:
    """The language that a file's name or its folder's says by a code, None if neither does.

    In a name, dots part words; a code may begin a word, as in `zh_hans.txt`, or end one, as in
    `news-fr.txt`. A folder's whole name must be a code.
    """
    if path == STDIN:
        return None
    words = path.name.split(".")[:-1] or [path.name]
    for pattern in (_BEGINS, _ENDS):
        for word in words:
            found = pattern.search(word)
            if found and found[1].lower() in LANGUAGES:
                return LANGUAGES[found[1].lower()]
    return LANGUAGES.get(path.parent.name.lower())
