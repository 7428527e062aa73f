"""Text that Python wrote for people, read back: what `str` and `repr` make of lists, dicts, arrays and times.

Data frames whose cells hold objects are written to CSV and SQL that way. numpy leaves the commas out
(`['prod' 'eu']`), where Python itself would join the two texts to one; so this is a reader of its own, one pass over
the text, that runs nothing.
"""

import ast
import re
import warnings
from datetime import datetime
from typing import Any

_DEEP = 40
_TOKEN = re.compile(
    r"""\s*(?:
      (?P<text>(?:[rRbBuU]{1,2})?(?:'(?:[^'\\]|\\.)*+'|"(?:[^"\\]|\\.)*+"))
    | (?P<number>[+-]?(?:\d[\d_]*+\.?\d*+|\.\d++)(?:[eE][+-]?\d+)?+(?![\w.]))
    | (?P<name>[+-]?[A-Za-z_][\w.]*+)
    | (?P<mark>[\[({])
    )""",
    re.VERBOSE | re.DOTALL,
)
_NAMES = {"None": None, "True": True, "False": False, "nan": None, "NaN": None, "NaT": None, "inf": None, "-inf": None,
          "null": None, "true": True, "false": False}  # fmt: skip
_SPACE = re.compile(r"\s*")
# What a call says beside its value and what does not change it. Other zones would: such a time stays text.
_KEYWORD = re.compile(
    r"dtype=(?:object|'[^']*'|[\w.]+(?:\('[^']*'\))?)|tz='[^']*'|tzinfo=(?:datetime\.timezone\.utc|<UTC>|UTC)|fold=0"
)
_WRAPPERS = frozenset(
    {"array", "Timestamp", "UUID", "Decimal", "datetime64", "float64", "float32", "int64", "int32", "bool_", "str_",
     "list", "tuple", "set", "frozenset", "OrderedDict"})  # fmt: skip


def read(text: str) -> Any:
    """The lists, dicts, texts and numbers that a repr shows; `array(x)` is x, times are ISO text.

    Raises ValueError for anything that is no such repr, and for one that was shortened (`...`).
    """
    reader = _Reader(text)
    value = reader.value(0)
    if _SPACE.match(text, reader.at).end() != len(text):  # type: ignore[union-attr]
        raise ValueError("text after the value")
    return value


def _literal(token: str) -> Any:
    """A literal of Python; one with an escape that Python does not know keeps its backslash, without a warning."""
    if "\\" not in token:
        return ast.literal_eval(token)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.literal_eval(token)


class _Reader:
    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def peek(self) -> str:
        """The next character that is no space."""
        self.at = _SPACE.match(self.text, self.at).end()  # type: ignore[union-attr]
        return self.text[self.at : self.at + 1]

    def value(self, depth: int) -> Any:
        if depth > _DEEP:
            raise ValueError("too deep")
        found = _TOKEN.match(self.text, self.at)
        if found is None:
            raise ValueError("no value")
        self.at = found.end()
        kind, token = found.lastgroup, found[found.lastgroup or 0]
        if kind == "text":
            return _text(token)
        if kind == "number":
            return _literal(token)
        if kind == "name" and self.peek() == "(":
            return self._call(token, depth)
        if token in _NAMES:
            return _NAMES[token]
        if token in ("[", "("):
            return self._items("]" if token == "[" else ")", depth)
        if token == "{":
            return self._members(depth)
        raise ValueError("no value")

    def _items(self, closing: str, depth: int) -> list[Any]:
        """Elements up to the closing mark; commas may be missing, as numpy prints arrays."""
        items: list[Any] = []
        while (mark := self.peek()) != closing:
            if mark == ",":
                self.at += 1
            elif known := _KEYWORD.match(self.text, self.at):
                self.at = known.end()
            else:
                items.append(self.value(depth + 1))
        self.at += 1
        return items

    def _members(self, depth: int) -> Any:
        members: dict[str, Any] = {}
        elements: list[Any] = []
        while (mark := self.peek()) != "}":
            if mark == ",":
                self.at += 1
                continue
            key = self.value(depth + 1)
            if self.peek() == ":":
                self.at += 1
                members[str(key)] = self.value(depth + 1)
            else:
                elements.append(key)  # a set
        self.at += 1
        if members and elements:
            raise ValueError("neither a dict nor a set")
        return elements or members

    def _call(self, name: str, depth: int) -> Any:
        self.at += 1
        given = self._items(")", depth)
        last = name.rsplit(".", 1)[-1]
        if last == "datetime":
            return datetime(*given[:7]).isoformat()
        if last in _WRAPPERS and given:
            return given[0]
        raise ValueError(f"a call of {last}")


def _text(token: str) -> str:
    if token[0] in "'\"" and "\\" not in token:
        return token[1:-1]  # nearly every text
    value = _literal(token)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value).encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # half a character is none
