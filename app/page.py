"""The frame of every page: title, slice sentence, chips, "Copy link" and "As Python", each at the same place."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, NoReturn
from urllib.parse import urlencode

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

import kpi
from app import data, export, slicebar, text
from app.slicebar import PageContext
from kpi.charts import series as charts

Slot = DeltaGenerator
SAMPLE = [sys.executable, "-m", "sample_data", "--if-absent"]  # as `make run` does
WAYS = {"why": "troubleshoot", "traces": "account_tree", "overview": "dashboard"}  # icons of links to pages


def navigation(groups: dict[str, list[Any]], here: PageContext | None) -> None:
    """Links to every page that carry the slice, so that a page opened in a new tab shows the same rows."""
    named = st.query_params.get("data", "")
    query = slicebar.query(here.view) if here else {"data": [named]} if named in data.names() else {}
    for name, pages in groups.items():
        with st.container(gap="xsmall"):
            st.caption(text.safe(name))
            for target in pages:
                st.page_link(target, query_params=query, width="stretch")


def name(chosen: Any, here: PageContext | None, room: Slot) -> None:
    """What the tab is called, which tells it from others; and the title of a page whose link cannot be obeyed."""
    if here:
        view = here.view
        window = slicebar.WINDOWS.get(view.last or "custom", view.last)
        st.set_page_config(page_title=f"{chosen.title}, {view.dataset}, {window} - AI Index")
        if chosen.url_path != "traces":
            query = {k: st.query_params.get_all(k) for k in st.query_params}
            st.session_state["_came_from"] = chosen.url_path or "overview", chosen.title, query
    elif data.names() and chosen.url_path != "data":
        room.title(text.safe(chosen.title), anchor=False)


def back() -> None:
    """The way back to the page of this session from which people came, with its slice, filters and choices."""
    if came := st.session_state.get("_came_from"):
        target, title, query = came
        st.page_link(f"views/{target}.py", label=text.safe(f"Back to {title}"), icon=":material/arrow_back:",
                     query_params=query)  # fmt: skip


def way(target: str, label: str, view: kpi.Slice, **keys: str) -> None:
    """A link to another page on a slice, with keys of that page."""
    icon = f":material/{WAYS.get(target, 'arrow_outward')}:"
    st.page_link(f"views/{target}.py", label=text.safe(label), icon=icon, query_params=slicebar.query(view, **keys))


def reports() -> None:
    """What the link asks for and this data cannot give; said on every page until it is taken out of the link."""
    found = slicebar.report()
    if found:
        with st.container(border=True):
            for sentence in found:
                st.markdown(f":material/link_off: {text.safe(sentence)}")
            st.button("Keep only what this data has", on_click=slicebar.tidy, key="tidy_link")


def welcome() -> None:
    """The first screen of an empty state folder."""
    st.title("AI Index", anchor=False)
    with st.container(border=True):
        st.markdown("#### Nothing is loaded yet")
        st.markdown("Drop a trace export or a table with one row a request, and this page says whether it is fine.")
        if st.button("Try the sample", icon=":material/science:", key="try_sample"):
            with st.spinner("Making 60,000 requests of an invented assistant: about half a minute"):
                failed = subprocess.run(SAMPLE, capture_output=True, check=False).returncode
            data.forget()
            if failed:
                raise kpi.errors.StoreError("app.sample", "The sample could not be made",
                                            hint="Run python -m sample_data and read what it says.")  # fmt: skip
            st.query_params["data"] = "sample"
            st.rerun()


def header(title: str, here: PageContext) -> Slot:
    """Title, "Copy link", room for the sentence that says what is looked at, what the link got wrong, chips."""
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.title(text.safe(title), anchor=False, width="content")
        with st.container(horizontal=True, width="content"):
            copies("Copy link", link(here), icon="link")
            share = st.popover("Share", icon=":material/share:", type="tertiary", key="share", on_change="rerun")
    with share:
        st.caption(text.safe(text.TOLD["link_live" if here.source.live else "link"]))
        st.code(link(here), language=None, wrap_lines=True)
        if share.open:  # the findings take seconds: nobody waits for them who does not ask
            with problems():
                copies("Copy the summary", summary(here), icon="content_copy")
    slot = st.empty()
    if not here.timed:
        st.caption("This data has no times: trends, drift and windows are off.",
                   help="No request says when it began. Everything that needs no times works.")  # fmt: skip
    for note in here.resolved.notes:
        st.caption(f":material/schedule: {text.safe(note)}")
    reports()
    st.session_state["_doubts"] = st.container(), set()
    for key in [k for k in st.query_params if k not in slicebar.SLICE_KEYS]:
        if len(set(st.query_params.get_all(key))) > 1:
            doubt(key, f"This link gives {key} several times: only the last counts.")
    _chips()
    return slot


def copies(label: str, told: str, *, icon: str) -> None:
    """A button that puts a text on the clipboard, by `assets/ai-index.js`."""
    key = label.lower().replace(" ", "_")
    with st.container(key=f"copies_{key}", width="content"):
        if st.button(text.safe(label), icon=f":material/{icon}:", type="tertiary", key=key):
            st.toast("Copied", icon=":material/check:")
        st.code(told, language=None)  # not shown: `assets/ai-index.css`


def summary(here: PageContext) -> str:
    """What people paste into a chat, as Markdown: the headline, the KPIs, what changed, and the link."""
    card, told = data.scorecard(here.source, here.view), data.story(here.source, here.view)
    lines = [c.sentence for c in card.cards if c.state != "no_data"] + [f.sentence for f in told.findings]
    shown = [f"**{text.plain(card.sentence)}**", *(f"- {text.plain(line)}" for line in lines), ""]
    rows = kpi.wording.slice_sentence(here.view, here.resolved, version=here.source.version, requests=card.requests)
    return "\n".join([*shown, f"{text.plain(rows)}: {link(here)}"])


def sentence(slot: Slot, here: PageContext, requests: float | None = None) -> None:
    """Fill the sentence under the title, with the requests in the slice where the page counts them."""
    told = kpi.wording.slice_sentence(here.view, here.resolved, version=here.source.version, requests=requests,
                                      read_at=here.source.read_at)  # fmt: skip
    slot.markdown(f"## {text.safe(told)}")  # small, by style.css: the sections below are headings of the third level


def counted(slot: Slot, here: PageContext, requests: int) -> None:
    """Fill the sentence under the title; where no request is in the slice the page ends with the way out."""
    sentence(slot, here, requests)
    if not requests:
        nothing(here)
        st.stop()


def link(here: PageContext) -> str:
    """The address of this page with every field of the slice written out and the version of the data pinned."""
    pinned = replace(here.view, version=here.source.version or None, fingerprint=here.source.fingerprint)
    keys = {k: st.query_params.get_all(k) for k in st.query_params if k not in slicebar.SLICE_KEYS}
    base = (st.context.url or "").split("?")[0]
    return f"{base}?{urlencode({**pinned.to_query(full=True), **keys}, doseq=True)}"


def as_python(here: PageContext, *calls: str) -> None:
    """The expander at the foot of every page."""
    pinned = replace(here.view, version=here.source.version or None)
    with st.expander("As Python", icon=":material/code:"):
        st.code(text.python(pinned, calls), language="python", wrap_lines=True)
        export.notebook(partial(text.notebook, pinned, calls), pinned.dataset)


def _drop(key: str) -> None:
    st.query_params.pop(key, None)


def doubt(key: str, sentence: str) -> None:
    """Say under the title, once, what a page key of the link asks in vain, with the way to take it out."""
    room, said = st.session_state["_doubts"]
    if key not in said:
        said.add(key)
        with room, st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f":material/link_off: {text.safe(sentence)}", width="content")
            st.button("Drop it", key=f"doubt_{key}", type="tertiary", on_click=_drop, args=(key,))


def choose(key: str, options: Sequence[str], *, default: str, known: Sequence[str] = ()) -> str:
    """A page key of the URL, if it is one of the options; else the default, and the page says so.

    known: values that are fine but not offered at the moment, of which nothing is said.
    """
    value = st.query_params.get(key, "")
    if value in options:
        return value
    if value and value not in known:
        shown = f": shown is {default}" if default else ""
        doubt(key, f"This link asks for {key} {value[:60]}, which cannot be shown here{shown}.")
    return default


def number(key: str) -> int:
    """A page key of the URL that counts from 0, which an absent one means. Raises SliceError for anything else."""
    value = st.query_params.get(key) or "0"
    if not (value.isascii() and value.isdigit() and len(value) <= 9):
        raise kpi.errors.SliceError("app.number", f"Cannot read {key} {value[:20]!r} of the link",
                                    hint="It is a whole number, from 0.")  # fmt: skip
    return int(value)


def switched(key: str) -> bool:
    """A page key of the URL that is 1 or absent."""
    value = st.query_params.get(key, "")
    if value not in ("", "0", "1"):
        doubt(key, f"This link asks for {key} {value[:60]}, which is neither 1 nor 0: taken for 0.")
    return value == "1"


def remember(key: str, widget: str, *, drop: Sequence[str] = ()) -> None:
    """Callback: write the value of a widget under a page key of the URL, and drop the keys that depend on it."""
    value = st.session_state.get(widget)
    for name in (key, *drop):
        st.query_params.pop(name, None)
    if value not in (None, "", False):
        st.query_params[key] = "1" if value is True else str(value)


def selectbox(label: str, key: str, options: Sequence[str], *, default: str, **more: Any) -> str:
    """A selectbox that lives in the URL under `key`; `more` as of `_control` and of Streamlit."""
    return _control(st.selectbox, label, key, options, default=default, **more)


def pills(label: str, key: str, options: Sequence[str], *, default: str, **more: Any) -> str:
    """A row of choices that lives in the URL under `key`; `more` as of `_control` and of Streamlit."""
    return _control(st.segmented_control, label, key, options, default=default, required=True, **more)


def _control(
    draw: Callable[..., Any], label: str, key: str, options: Sequence[str], *, default: str,
    names: Callable[[str], str] = text.dimension, known: Sequence[str] = (), drop: Sequence[str] = (), **more: Any,
) -> str:  # fmt: skip
    """names: what an option is called. known: as of `choose`. drop: keys that depend on it; a choice takes them out."""
    widget, value = f"page_{key}", choose(key, options, default=default, known=known)
    slicebar.keep(widget, value)
    draw(text.safe(label), options, key=widget, on_change=remember, args=(key, widget), kwargs={"drop": drop},
         format_func=names, **more)  # fmt: skip
    return value


METRIC_GROUPS = ("quality", "behaviour", "cost", "latency", "safety", "business", "use", "volume", "own")


def metric_choice(here: PageContext, *, default: str, kinds: Sequence[str] = ()) -> tuple[str, Slot]:
    """Pick a metric in two steps, group then metric; metric= in the URL says which. Only what the data supports.

    Returns the metric and the row below the groups, for further choices of the page.
    """
    able = {m.name: m for m in data.metrics().values() if here.profile.supports(m) and (not kinds or m.kind in kinds)}
    if not able:
        raise kpi.errors.MetricError("app.no_metric", "This data supports no metric here",
                                     hint="See Data for what to add.")  # fmt: skip
    fallback = default if default in able else next(iter(able))
    metric = choose("metric", list(able), default=fallback)
    groups = [g for g in METRIC_GROUPS if any(m.group == g for m in able.values())]
    group = able[metric].group
    first = {g: next(name for name, m in able.items() if m.group == g) for g in groups}
    slicebar.keep("page_group", group)
    st.pills("Kind", groups, key="page_group", required=True, wrap=True, format_func=str.capitalize,
             on_change=_first_of_group, args=(first,))  # fmt: skip
    names = [name for name, m in able.items() if m.group == group]
    row = st.container(horizontal=True, vertical_alignment="bottom")
    with row:
        selectbox("Metric", "metric", names, default=metric, names=lambda n: data.metrics()[n].label, width=280)
    return metric, row


def _first_of_group(first: dict[str, str]) -> None:
    st.query_params["metric"] = first[st.session_state["page_group"]]


def percentiles_of(metric: str, here: PageContext) -> list[str]:
    """Quantile metrics of the same quantity, smallest first; empty when it has none."""
    column = data.metrics()[metric].column
    family = [m for m in data.metrics().values() if m.kind == "quantile" and m.column == column and column]
    return [m.name for m in sorted(family, key=lambda m: m.q or 0) if here.profile.supports(m)]


def promise(metric: str, here: PageContext) -> Any:
    """The register's entry for a metric, None where it is not governed."""
    return next((e for e in kpi.register_of(here.source).entries if e.metric == metric), None)


def grain(here: PageContext, *, groups: int = 1) -> tuple[str, bool]:
    """The bucket of the slice, or the next coarser one that keeps a chart readable; and whether it was made coarser."""
    hours = {"hour": 1, "day": 24, "week": 168, "month": 720}
    span = here.resolved.window
    wide = [g for g in hours if hours[g] >= hours[here.view.grain]]
    room = charts.MOST_POINTS * 3600
    fits = [g for g in wide if span is None or (span.end - span.start).total_seconds() * groups <= room * hours[g]]
    found = fits[0] if fits else "month"
    return found, found != here.view.grain


@contextmanager
def progress() -> Iterator[Callable[[float, str], None]]:
    """A bar for as long as the block runs, and what moves it: a share of the work and what is being done."""
    bar = st.progress(0.0, "Starting")

    def tell(share: float, told: str) -> None:
        bar.progress(min(max(share, 0.0), 1.0), text.safe(told))

    try:
        yield tell
    finally:
        bar.empty()


@contextmanager
def problems() -> Iterator[None]:
    """Whatever the index cannot do is said with its remedy; nobody meets a traceback."""
    try:
        yield
    except kpi.KpiError as error:
        if error.code == "slice.value":  # a link to what these data do not have: `reports` names it
            nothing(slicebar.current())
        else:
            problem(error)


def problem(error: kpi.KpiError) -> None:
    where = f" (row {error.row})" if error.row is not None else ""
    st.error(f"**{text.safe(error.message + where)}**  \n{text.safe(error.hint)}", icon=":material/error:")


def empty(what: str, remedy: str) -> Slot:
    """A designed nothing: what is missing and what to do about it. Returns the room for ways out."""
    room = st.container(border=True, horizontal_alignment="center")
    room.markdown(f"**{text.safe(what)}**", width="content")
    room.caption(text.safe(remedy), width="content")
    return room


def end(what: str, remedy: str) -> NoReturn:
    """The same, and the page ends here."""
    empty(what, remedy)
    st.stop()


def cannot(here: PageContext, metric: str) -> None:
    """The data cannot support a page: names the columns it would need."""
    needs = ", ".join(here.profile.missing().get(metric, ()))
    empty(f"{here.view.dataset} has no {data.metrics()[metric].label.lower()}.",
          f"Map a column to {needs} on the Data page.")  # fmt: skip


def nothing(here: PageContext, what: str = "No requests match this slice.") -> None:
    """The empty state: says what is empty and offers the way out."""
    room = empty(what, "Widen the window or take away a filter." if here.timed else "Take away a filter.")
    with room, st.container(horizontal=True, horizontal_alignment="center"):
        if here.view.filters:
            _wider("Clear filters", "filter_alt_off", "empty_clear", filters=())
        if here.timed and here.view.last != "all":
            _wider("All times", "date_range", "empty_all", last="all", start=None, end=None)


def compared(here: PageContext) -> PageContext:
    """The same where it is compared; where no data lie before the window, the last 14 days against the 28 before, as
    the page then says. The page ends where nothing can be compared: with the way to a comparison."""
    if here.resolved.compared:
        return here
    if here.timed and here.view.baseline != "none":
        view = kpi.recent(here.source, here.view)
        found = replace(here, view=view, resolved=kpi.resolve(here.source, view))
        if found.resolved.compared:
            st.caption(":material/history: Nothing lies before this window: the last 14 days stand against the 28 "
                       "before.")  # fmt: skip
            return found
    if here.timed and here.view.baseline == "none":
        with empty("The slice is compared with nothing, as chosen.", "Choose what to compare with in the slice bar."):
            _wider("The window before", "history", "compare_previous", baseline="previous")
        st.stop()
    other = "Load earlier requests" if here.timed else "Load an export that says when requests began"
    end("There is nothing to compare with.", f"{other}{', or compare with a version' if here.versions else ''}.")


def _wider(label: str, icon: str, key: str, **changed: Any) -> None:
    """A button that opens the slice of the URL with something changed."""
    st.button(text.safe(label), icon=f":material/{icon}:", key=key,
              on_click=lambda: slicebar.go(replace(slicebar.asked(), **changed)))  # fmt: skip


def _chips() -> None:
    """Active filters, each with an x."""
    chosen = [(d, v) for d, values in slicebar.asked().filters for v in values]
    if not chosen:
        return
    with st.container(horizontal=True, gap="xsmall"):
        for dimension, value in chosen:
            st.button(f"{text.safe(text.dimension(dimension))}: {text.safe(value, longest=40)}",
                      icon=":material/close:", icon_position="right", key=f"chip_{dimension}_{value}",
                      on_click=slicebar.without, args=(dimension, value), help="Remove this filter")  # fmt: skip
