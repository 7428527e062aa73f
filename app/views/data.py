"""Data: what is loaded, can I trust it? Load files, see the mapping and the receipt, go back to a version."""

import streamlit as st

import kpi
from app import copying, data, loading, page, slicebar, tables, text

stored = data.datasets()
here = None
if data.names():
    with page.problems():
        here = slicebar.current()
if here:
    page.sentence(page.header("Data: what is loaded?", here), here)
else:
    st.title("Data: what is loaded?", anchor=False)

if not stored:
    with st.grid(3, min_column_width=220, gap="small"):
        for number, (title, told) in enumerate(text.WORDS["first"].items(), start=1):
            with st.container(border=True, height="stretch", gap="xsmall"):
                st.markdown(f"**{text.safe(f'{number}. {title}')}**")
                st.caption(text.safe(told))

st.subheader("Load", anchor=False)
# Nobody wants real traces mixed into the sample world: only a data set of one's own is offered to be added to.
mine = here.view.dataset if here and here.view.dataset != "sample" and not here.source.live else "default"
loading.draw(mine)
copying.draw(mine)

if here:
    name = here.view.dataset
    if not here.source.live:
        if st.session_state.get("_loaded") != (name, here.source.version):  # else its receipt stands above
            st.subheader("Last load", anchor=False)
            loading.receipt(kpi.receipt(name, here.source.version))
        st.subheader("Versions", anchor=False)
        loading.versions(name)
    st.subheader("What this data can tell", anchor=False)
    tables.support(here.profile)
    page.as_python(here, "profile = kpi.profile(source)", "missing = profile.missing()",
                   *([] if here.source.live else [f"versions = kpi.versions({name!r})"]))  # fmt: skip
