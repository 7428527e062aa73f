"""Parts of a page that are drawn once for all sessions: charts and cards cost more to build than to repeat.

Streamlit keeps what a cached function drew and repeats it. The key is the content of what the part is drawn from, not a
name for it, so that a part can never be older than its numbers.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import Any

import streamlit as st
from altair.utils.schemapi import disable_debug_mode
from streamlit import html as markup  # the one door for it: our own style, and what `kpi.charts.inline` makes

import kpi
from kpi.charts import series as charts

disable_debug_mode()  # charts are checked against the schema by tests, not for every reader

_INSIDE: ContextVar[bool] = ContextVar("inside a part", default=False)


def part(draw: Callable[..., None], *args: Any, **kwargs: Any) -> None:
    """Draw a part of the page without widgets, or repeat what it drew from the same arguments for anybody else.

    draw: a function of a module; what it shows follows from its arguments and the theme alone. Parts of a part are
    kept with it: on their own they would be repeated outside of its containers.
    """
    if _INSIDE.get():
        draw(*args, **kwargs)
        return
    inside = _INSIDE.set(True)
    try:
        _drawn(_key(draw, args, kwargs), lambda: draw(*args, **kwargs))
    finally:
        _INSIDE.reset(inside)


def chart(make: Callable[..., Any], *args: Any, alt: str, **kwargs: Any) -> None:
    """Draw the chart that a function of a module makes of its arguments and the colours of the theme.

    alt: what it shows, for screen readers.
    """
    part(_chart, make, args, kwargs, alt)


def style() -> None:
    """What the theme of the framework cannot say."""
    markup(Path(__file__).with_name("style.css"))


def picture(make: Callable[..., str], *args: Any, **kwargs: Any) -> None:
    """Draw the SVG that a function of `kpi.charts.inline` makes of its arguments and the colours of the theme."""
    part(_picture, make, args, kwargs)


def _picture(make: Callable[..., str], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    assert make.__module__ == "kpi.charts.inline", make
    markup(make(*args, colours=charts.look(st.context.theme.type), **kwargs))


def _chart(make: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], alt: str) -> None:
    drawn = make(*args, colours=charts.look(st.context.theme.type), **kwargs)
    object.__setattr__(drawn, "to_dict", partial(_spec, drawn.to_dict))
    st.altair_chart(drawn, alt=alt)


def _spec(make: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """The chart as Vega-Lite, neither checked for every reader nor read out mark by mark: `alt` says what it shows."""
    spec = make(validate=False)
    for layer in spec.get("layer", [spec]):
        layer["mark"] = {**layer["mark"], "aria": False}
    return spec


@st.cache_data(ttl="1h", max_entries=2000, max_size="64MiB", show_spinner=False)
def _drawn(key: str, _draw: Callable[[], None]) -> None:
    _draw()


def _key(draw: Callable[..., None], args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    written = io.BytesIO()
    _Writer(written).dump((draw, st.context.theme.type, args, kwargs))
    return hashlib.blake2b(written.getbuffer(), digest_size=16).hexdigest()


class _Writer(pickle.Pickler):
    """Content as bytes; rows by the name of their version, because they cannot be written."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, kpi.Source):
            return tuple, ((obj.name, obj.version, obj.fingerprint, obj.read_at),)
        return NotImplemented
