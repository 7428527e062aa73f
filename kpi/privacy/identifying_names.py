"""What the name of a column or metadata key says of it: whether it names, finds or describes a person.

The words lie in `identifying.toml`, in the languages that people use. A name is cut into words at case changes and at
all that is no letter or digit; accents are folded. Nothing here looks at a value.
"""

import re
import unicodedata
from functools import cache, lru_cache
from itertools import groupby
from typing import Any, Literal

from kpi.disk.tables import table_of

Where = Literal["anywhere", "head", "last", "name", "person", "age"]
DATA: dict[str, Any] = table_of(__file__, "identifying")
_LONGEST = 200
_NO_MARKS = re.compile("[\u0300-\u036f\u064b-\u0655\u0640'’ʼ`]")
_LETTERS = str.maketrans({"ß": "ss", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ı": "i"})
_UNSPACED = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_NAMED = re.compile("(?:name|namen|naam|namn|navn|nimi|jmeno|nev|nama)\\d*$")


def fold(text: str) -> str:
    """Lower case without accents; scripts that have none stay as they are."""
    bare = _NO_MARKS.sub("", unicodedata.normalize("NFKD", text).casefold())
    return unicodedata.normalize("NFC", bare).translate(_LETTERS)


def parts(name: str) -> list[str]:
    """The words of a name in any script: `homeAddr`, `date-of birth`, `metadata.e_mail`; accents kept."""
    found: list[str] = [""]
    name = unicodedata.normalize("NFC", name)
    for i, letter in enumerate(name):
        if letter in "'’ʼ`":
            continue
        if not letter.isalnum() and unicodedata.category(letter)[0] != "M":
            found.append("")
            continue
        before, after = name[i - 1 : i], name[i + 1 : i + 2]
        if letter.isupper() and (before.islower() or before.isdigit() or (before.isupper() and after.islower())):
            found.append("")
        found[-1] += letter
    return [word.casefold() for word in found if word]


def _compiled(entries: list[str]) -> re.Pattern[str]:
    longest_first = sorted(map(_entry, entries), key=lambda entry: -len("".join(entry)))
    bounded = groupby(longest_first, key=lambda entry: entry[::2])
    return re.compile("|".join(f"{start}(?:{'|'.join(e[1] for e in alike)}){end}" for (start, end), alike in bounded))


def _entry(entry: str) -> tuple[str, str, str]:
    """What stands before, in and after the pattern of a word."""
    whole, entry = entry.startswith("!"), entry.removeprefix("!")
    open_start, open_end = entry.startswith("*"), entry.endswith("*")
    body = "_?".join(re.escape(word) for word in entry.strip("*").split("+"))
    if _UNSPACED.search(entry):
        return "", body, ""
    start, end = "" if open_start else r"(?<![^_])", r"[^_]*" if open_end else r"\d*(?![^_])"
    return ("^", body, r"\d*$") if whole else (start, body, end)


@cache
def _topics() -> dict[str, tuple[re.Pattern[str], re.Pattern[str] | None]]:
    """Each topic with the patterns of its words, of folded ones and of those that keep their accents."""
    found = {}
    for name in DATA["order"].split():
        entries = [e for key, words in DATA[name].items() if key not in ("reason", "where") for e in words.split()]
        accented = [e[1:].casefold() for e in entries if e.startswith("=")]
        folded = [fold(e) for e in entries if not e.startswith("=")]
        found[name] = _compiled(folded), _compiled(accented) if accented else None
    return found


_HARMLESS = {key: frozenset(fold(words).split()) for key, words in DATA["harmless"].items()}


@lru_cache(maxsize=16_384)
def topic_of(name: str) -> str:
    """The topic of `identifying.toml` that a name belongs to, "" for none."""
    words = parts(_unboxed(name[:_LONGEST]))
    accented, folded = "_".join(words), "_".join(fold(w) for w in words)
    for topic, (bare, marked) in _topics().items():
        matches = [*bare.finditer(folded), *(marked.finditer(accented) if marked else ())]
        if any(_tells(topic, m.string[: m.start()], m.group(), m.string[m.end() :]) for m in matches):
            return topic
    return ""


def _unboxed(name: str) -> str:
    """`metadata.full_name` and `x_full_name` as what lies in the box."""
    box, dot, rest = name.partition(".")
    while dot and rest and box.lower() in _HARMLESS["boxes"]:
        name = rest
        box, dot, rest = name.partition(".")
    return name.removeprefix("x_")


def reason_of(name: str) -> str:
    """What a name says it holds ("names of people"), or "" where it may be a harmless cohort by its name."""
    topic = topic_of(name)
    return str(DATA[topic]["reason"]) if topic else ""


def is_grave(name: str) -> bool:
    """Whether a name speaks of birth, pay, health, belief, secrets or papers, whatever its last word is."""
    return topic_of(name) in DATA["grave"].split()


def allows_flags(name: str) -> bool:
    """Whether true and false under this name are harmless: `email_verified` is, `has_diabetes` is not."""
    topic = topic_of(name)
    return not topic or DATA[topic]["where"] != "anywhere"


def _tells(topic: str, before: str, found: str, after: str) -> bool:
    where: Where = DATA[topic]["where"]
    if where == "anywhere":
        return True
    rest = [w for w in after.split("_") if w]
    earlier = [w for w in before.split("_") if w]
    if where == "person":
        return all(_is(w.rstrip("0123456789"), "numbers") or not w.rstrip("0123456789") for w in rest)
    if where == "last":
        return not "".join(rest).rstrip("0123456789") and not (earlier and _is(earlier[-1], "measures"))
    if where == "age":
        return not ((rest and _is(rest[-1], "bands")) or (earlier and _is(earlier[-1], "things")))
    if rest and _is(rest[-1], "asks"):
        return False
    return not _is_of_a_thing(earlier, found, rest) if where == "name" else True


def _is_of_a_thing(earlier: list[str], found: str, rest: list[str]) -> bool:
    """`model_name`, `Produktname`, `nombre_del_producto`: whose name it is stands next to the word."""
    stem = _NAMED.sub("", found)
    if stem and stem != found:
        return any(_is(s, "things") for s in (stem, stem.removesuffix("s"), stem.removesuffix("n")))
    rest = [w for w in rest if w not in _HARMLESS["articles"]]
    return _is(earlier[-1], "things") if earlier else bool(rest) and _is(rest[0], "things")


def _is(word: str, kind: str) -> bool:
    known = _HARMLESS[kind]
    return word in known or (
        bool(_UNSPACED.search(word)) and any(word.endswith(k) for k in known if _UNSPACED.search(k))
    )
