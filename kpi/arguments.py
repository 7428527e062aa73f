"""What is passed to a public call: understood where one thing can be meant, refused in words where not.

A name stands for a list of one, any collection for a list, a window such as "28d" for a slice. Everything else that
does not fit the annotation of its parameter is a `CallError` with what to write instead, before anything runs.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import tomllib
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from kpi.errors import CallError

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C", bound=type)
Adapt = Callable[[Any], Any]
_LISTS = frozenset(["Sequence", "Collection", "Iterable", "list", "set", "frozenset"])
_SIDES = ("a", "b")  # of a comparison, which says itself what it needs
_NOT_EMPTY = ("metrics", "dimensions")
_RAW = (TypeError, AttributeError, LookupError, ValueError, ArithmeticError, AssertionError)
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_SHOWN = 60
_TEXTS = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))


def guarded(
    function: Callable[P, R], name: str, adapt: Adapt | None = None, check: Adapt | None = None,
    loose: Collection[str] = (),
) -> Callable[P, R]:  # fmt: skip
    """The function with its arguments understood first. adapt: makes a source of what stands where one is meant.
    check: looks at all arguments before the call.

    It is known as `kpi.<name>`, so that it can be pickled.
    """
    signature = inspect.signature(function)
    free = {*loose, *_SIDES, *(n for n, p in signature.parameters.items() if p.kind in _VARIADIC)}
    hints = functools.cache(lambda: {n: h for n, h in _hints(function).items() if n not in free})

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise _unbound(name, signature, len(args), kwargs, str(error)) from None
        for parameter, value in bound.arguments.items():
            if parameter in hints():
                bound.arguments[parameter] = _understood(value, hints()[parameter], parameter, name, signature, adapt)
        if check is not None:
            check(bound.arguments)
        try:
            return function(*bound.args, **bound.kwargs)
        except _RAW as error:
            told = f"kpi.{name} cannot work with what it was given ({type(error).__name__})"
            raise CallError("call.failed", told, hint=f"Check each argument. {_shape(name, signature)}.") from error

    if function.__name__ != "__init__" and "." not in name:
        call.__module__, call.__qualname__ = "kpi", name
    return call


def guarded_class(*loose: str) -> Callable[[C], C]:
    """For a class: its constructor is guarded. loose: fields that it reads itself, of whatever type."""

    def decorate(made: C) -> C:
        made.__init__ = guarded(made.__init__, made.__name__, loose=loose)  # type: ignore[misc]
        return made

    return decorate


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    except NameError:  # a name that only type checkers import
        return {}


def _understood(value: Any, hint: Any, parameter: str, name: str, signature: inspect.Signature, adapt: Any) -> Any:
    if _named(hint) == "Source" and not _fits(value, hint) and adapt is not None:
        value = adapt(value)
    if _fits(value, hint):
        if parameter in _NOT_EMPTY and isinstance(value, Collection) and not len(value):
            raise CallError("call.empty", f"kpi.{name}: {parameter} is empty",
                            hint=f"Name one at least, or leave {parameter} out where it may be.")  # fmt: skip
        return value
    for one in _members(hint):
        several = _named(one) in _LISTS or typing.get_args(one)[1:] == (...,)
        if several and (found := _listed(value, one)) is not None:
            return _understood(found, hint, parameter, name, signature, adapt)
        if _named(one) == "Slice" and isinstance(value, str) and value[:1].isdigit() | (value == "all"):
            return one(last=value)
        if typing.get_origin(one) is tuple and isinstance(value, list) and _fits(tuple(value), one):
            return tuple(value)
        if _named(one) == "Path" and isinstance(value, str):
            return one(value)
        if one is float and isinstance(value, Real) and not isinstance(value, bool):
            return float(value)
    told = [_TEXTS["types"].get(_named(h), (_named(h), "")) for h in _members(hint) if h is not type(None)]
    remedy = _TEXTS["arguments"].get(parameter) or next((r for _, r in told if r), "Check it")
    words = " or ".join(dict.fromkeys(word for word, _ in told))
    told_of = f"kpi.{name}: {parameter} must be {words}, not {_shown(value)}"
    raise CallError("call.argument", told_of, hint=f"{remedy}. {_shape(name, signature)}.")


def _listed(value: Any, hint: Any) -> tuple[Any, ...] | None:
    """A list of one, or the list that another collection is; None where it is neither."""
    inner = typing.get_args(hint)[0] if typing.get_args(hint) else Any
    if _fits(value, inner):
        return (value,)
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable) or hasattr(value, "columns"):
        return None
    found = tuple(sorted(value, key=str) if isinstance(value, set | frozenset) else value)
    return found if all(_fits(v, inner) for v in found) else None


def _members(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)


def _named(hint: Any) -> str:
    origin = typing.get_origin(hint) or hint
    return "str" if origin is typing.Literal else getattr(origin, "__name__", str(hint))


def _fits(value: Any, hint: Any) -> bool:
    origin, inner = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, one) for one in inner)
    if origin is typing.Literal:
        return isinstance(value, type(inner[0]))  # which words there are is said where they are read
    if origin is tuple:
        return isinstance(value, tuple) and (inner[1:] != (...,) or all(_fits(v, inner[0]) for v in value))
    if _named(hint) in _LISTS:
        held = isinstance(value, list | tuple) or (not isinstance(value, str | bytes) and isinstance(value, origin))
        return held and not isinstance(value, Mapping) and all(_fits(v, one) for one in inner[:1] for v in value)
    if origin is Mapping or origin is dict:
        return isinstance(value, Mapping) and all(_fits(k, inner[0]) and _fits(v, inner[1]) for k, v in value.items())
    if origin is Callable:
        return callable(value)
    if origin in (int, float):
        return isinstance(value, Integral if origin is int else Real) and not isinstance(value, bool)
    return isinstance(value, origin) if isinstance(origin, type) else True


def _unbound(name: str, signature: inspect.Signature, given: int, words: Mapping[str, Any], told: str) -> CallError:
    """The error for arguments that a call does not have, or lacks."""
    known = [n for n in signature.parameters if n != "self"]
    if unknown := [w for w in words if w not in known]:
        near = difflib.get_close_matches(unknown[0], known, n=2, cutoff=0.5)
        told = f"there is no argument {unknown[0]!r}"
        hint = f"Did you mean {' or '.join(near)}? " if near else ""
        return CallError("call.unknown", f"kpi.{name}: {told}", hint=f"{hint}{_shape(name, signature)}.")
    return CallError("call.missing", f"kpi.{name}: {told}", hint=f"{_shape(name, signature)}.")


def _shape(name: str, signature: inspect.Signature) -> str:
    told = [p.replace(annotation=p.empty) for n, p in signature.parameters.items() if n != "self"]
    return f"The call is kpi.{name}{signature.replace(parameters=told, return_annotation=signature.empty)}"


def _shown(value: Any) -> str:
    """A value as a message may show it: a plain one as it is, of anything else its type; never the content of rows."""
    if value is None or isinstance(value, bool | int | float | str):
        text = repr(value)
        return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    if (
        isinstance(value, list | tuple)
        and len(value) <= 3
        and all(isinstance(v, int | float | str | None) for v in value)
    ):
        return repr(value)[:_SHOWN]
    return f"a {type(value).__name__}"
