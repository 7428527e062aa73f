"""Overview: is it fine? The index, the KPIs, every version beside the others, and what happened when."""

import streamlit as st

from app import cards, data, findings, once, page, slicebar, tables, text
from kpi.charts import series as charts

here = slicebar.current()
slot = page.header("Overview: is it fine?", here)
splits = [*here.versions, *here.cohorts]
by = page.choose("by", splits, default="prompt_version" if "prompt_version" in splits else (splits or [""])[0])
found = data.scorecard(here.source, here.view, by=by or None)
page.counted(slot, here, found.requests)
once.part(cards.index, found)
once.part(cards.kpi_cards, found, here)
st.subheader("What changed", anchor=False)
room = st.container()
with room:
    waiting = st.skeleton(height=120)

if by:
    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
        st.subheader("Side by side", anchor=False, width="content")
        page.selectbox("A row for every", "by", splits, default=by, width=220)
    tables.breakdown(found, by)

happened = data.events(here.source, here.view)
if len(happened):
    st.subheader("What happened", anchor=False)
    span = here.resolved.window
    shown = tables.timed(happened, here.view.tz)
    if span:
        limits = tuple(tables.local(t, here.view.tz) for t in (span.start, span.end))
        once.chart(charts.timeline, shown, span=limits, alt=f"{len(shown)} events in the window, by kind and time")
    with st.expander("Events as a table"):
        tables.events(shown)

page.as_python(here, f"card = kpi.scorecard(source, view, by={by!r})" if by else "card = kpi.scorecard(source, view)",
               "print(card.sentence)", "kpis = card.frame()", "broken_down = card.breakdown",
               "events = kpi.events(source, view)", "changed = kpi.story(source, view)",
               "print(changed.sentence, *(f.sentence for f in changed.findings), sep='\\n')")  # fmt: skip
told = data.story(here.source, here.view)  # last: it takes longest, and nothing above has to wait for it
waiting.empty()
with room:
    red = {c.metric for c in found.cards if c.state == "off_target"}
    first = sorted(told.findings, key=lambda f: not ("regression" in f.kind and f.metric in red))  # as the headline
    once.part(findings.block, told, first, here)
    if told.findings:
        st.caption(text.safe(f"{told.sentence} {text.TOLD['effects']}", longest=900))
