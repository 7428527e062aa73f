"""OpenInference attributes as OTLP carries them, from the ways in which Phoenix nests and flattens them.

A data frame has one column an attribute, with lists of objects whose keys are dotted again
(`attributes.llm.input_messages` = `[{"message.role": …}]`); a database nests everything; REST and the user interface
flatten everything, also what was one object (`metadata.plan`, `tool.parameters.order_id`).
"""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from kpi.disk.tables import sets, table_of
from kpi.ingest.otlp import conventions
from kpi.ingest.otlp.attribute_index import metadata_name
from kpi.ingest.otlp.decode import Attributes

_READ = sets(table_of(__file__), conventions.TABLES)["read"]
_DEEP = 12
_INDEX = re.compile(r"\.\d+(?=\.|$)")
_ARGUMENTS = "tool.parameters"
_KEPT_WHOLE = frozenset({"metadata", _ARGUMENTS})


def attributes_of(given: Mapping[str, Any]) -> Attributes:
    """Attributes under their full dotted names, lists of objects by index, as instrumentations write them.

    Metadata and arguments of tools are the objects they were. Whole floats in metadata are integers: a frame has no
    column of integers with gaps.
    """
    found: Attributes = {}
    arguments: dict[str, Any] = {}
    for name, value in given.items():
        if name.startswith(f"{_ARGUMENTS}."):
            arguments[name[len(_ARGUMENTS) + 1 :]] = value
        elif isinstance(value, dict | list):
            found.update(_flat(name, value, 0))
        elif value is not None:
            found[name] = value
    if arguments:
        found[_ARGUMENTS] = _nested(arguments)
    if isinstance(metadata := found.get("metadata"), dict):
        found["metadata"] = {k: int(v) if isinstance(v, float) and v.is_integer() else v for k, v in metadata.items()}
    return found


def unread(attributes: Attributes) -> dict[str, Any]:
    """Those of the attributes that hold something, belong to a known vocabulary, and are not read here.

    Of a list of objects one name stands for all: `retrieval.documents.*.document.metadata.lang`.
    """
    return {name: attributes[key] for key in attributes if (name := _unread_name(key))}


def _flat(name: str, value: Any, depth: int) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and name not in _KEPT_WHOLE and depth < _DEEP:
        for key, member in value.items():
            yield from _flat(f"{name}.{key}", member, depth + 1)
    elif isinstance(value, list) and depth < _DEEP and any(isinstance(item, dict) for item in value):
        for index, item in enumerate(value):
            yield from _flat(f"{name}.{index}", item, depth + 1)
    elif value is not None:
        yield name, value


def _nested(flat: Mapping[str, Any]) -> Any:
    """`{"a.b": 1, "c.0": 2}` -> `{"a": {"b": 1}, "c": [2]}`; a name that is both a value and an object is the value."""
    groups: dict[str, dict[str, Any]] = {}
    found: dict[str, Any] = {}
    for name, value in flat.items():
        first, dot, rest = name.partition(".")
        if dot and len(groups) < 1_000 and name.count(".") < _DEEP:
            groups.setdefault(first, {})[rest] = value
        else:
            found[first if not dot else name] = value
    found = {**{key: _nested(members) for key, members in groups.items()}, **found}
    listed = [str(i) for i in range(len(found))]
    return [found[i] for i in listed] if found and found.keys() == set(listed) else found


@lru_cache(maxsize=16_384)
def _unread_name(key: str) -> str | None:
    name = _INDEX.sub(".*", key)
    is_metadata = key == "metadata" or metadata_name(key) is not None  # the allow-list decides, and says so
    return None if is_metadata or name in _READ else name
