"""Loading on the Data page: files in, mapping shown and corrected, progress, receipt.

Parsing happens in `kpi`, in a child process under limits; here are only widgets.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

import kpi
from app import data, export, page, text

words = kpi.wording
NAME = re.compile(r"^[a-z0-9][a-z0-9_-]{0,40}$")
LEFT_OUT = "(left out)"
MOST_TICKS = 60


def draw(default: str) -> None:
    """Upload, mapping, load, and the receipt of what this session loaded last."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.session_state["load_dataset"] = st.session_state.get("load_dataset") or default  # kept from page to page
        name = dataset_name("Into data set", "load_dataset")
        last = st.session_state.get("_receipt")
        offered = sorted(kpi.Receipt.from_json(last).kept_out) if last else []
        keep = st.multiselect(
            "Columns and keys to keep", offered, accept_new_options=True, key="load_allow",
            placeholder="None besides the usual", help=text.safe(text.TOLD["keep"]), width=380,
        )  # fmt: skip
    files = st.file_uploader("Files", accept_multiple_files=True, key="load_files", help=text.safe(text.TOLD["files"]))
    if not files:
        _done()
        return
    if not is_name(name):
        return
    with page.problems():
        paths = _written(files)
        mapping, ticked = _mapping(paths[0], name)
        table = st.session_state["_uploads"][3]["preview"].columns
        told = mapping is None or mapping.tells or not table
        if not told:
            st.warning(text.safe(text.TOLD["untold"]), icon=":material/table_edit:")
        with st.container(horizontal=True, vertical_alignment="center"):
            started = st.button("Load", type="primary", icon=":material/upload:", key="load_go", disabled=not told)
            lossy = st.checkbox("Accept lost rows", key="load_loss", help=text.safe(text.TOLD["lossy"]))
        if started:
            _load(paths, name, mapping, [*keep, *ticked], lossy=lossy)
    _done()


def dataset_name(label: str, key: str) -> str:
    """The field for the name of a data set to load into."""
    return st.text_input(text.safe(label), key=key, help="Small letters, digits, - and _.", width=260).strip()


def is_name(name: str) -> bool:
    """Whether a data set may have this name; what is wrong is said."""
    if NAME.match(name):
        return True
    st.warning("Name the data set with small letters, digits, - and _.", icon=":material/edit:")
    return False


def _written(files: Sequence[Any]) -> list[Path]:
    """The uploads as files in a private folder that goes with the session; their names are never trusted as paths."""
    token = " ".join(f.file_id for f in files)
    known = st.session_state.get("_uploads")
    if known is None or known[0] != token:
        kept = kpi.Uploads((file.name, file.getbuffer()) for file in files)
        st.session_state["_uploads"] = known = (token, kept, kept.paths, {})
    return list(known[2])


def _mapping(path: Path, name: str) -> tuple[kpi.Mapping | None, list[str]]:
    """Show what was recognised; for a table, the mapping to correct and the columns kept out that were ticked.

    The mapping is None for formats that need none.
    """
    kept: dict[str, Any] = st.session_state["_uploads"][3]
    options = _options(kept)
    if kept.get("options") != options:
        with st.spinner("Looking at the file…"):
            kept["preview"] = kpi.preview(path, kpi.Mapping().said(options))
        kept["options"] = options
        if "sheets" not in kept and (kept["preview"].columns or kept["preview"].sheets):
            kept["sheets"] = kept["preview"].sheets
            st.rerun()  # now with the choices of a table
    preview: kpi.Preview = kept["preview"]
    if preview.sheets:
        st.warning("Choose the sheet with one row a request.", icon=":material/table:")
        return None, []
    size = f", {words.format_count(preview.rows, 'rows')}" if preview.rows else ""  # only tables are counted
    seen = preview.mapping.tells or not preview.columns
    mark, told = ("task_alt", "Recognised as") if seen else ("help", "Nothing was recognised in this")
    st.markdown(f"{text.icon(mark)} {text.safe(told)} **{text.safe(preview.format)}**{text.safe(size)}")
    for note in preview.notes:
        st.caption(text.safe(note))
    if not preview.columns:
        return kpi.Mapping().said(options) if options else None, []
    fields = kpi.mapping_fields(preview)
    units = sorted({u for found in fields.values() for u in found if u})
    shown = pd.DataFrame({"Column": [c.source for c in preview.columns],
                          "Examples": [", ".join(c.samples[:3]) for c in preview.columns],
                          "Is": [c.field or LEFT_OUT for c in preview.columns],
                          "Unit": [c.unit or None for c in preview.columns],
                          "How": ["kept out" if c.kept_out else c.how for c in preview.columns],
                          "Why": [c.why for c in preview.columns]})  # fmt: skip
    st.caption("How each column is understood. Correct it where it is wrong; guesses say why.")
    choices = {"Is": st.column_config.SelectboxColumn(options=[LEFT_OUT, *fields], required=True, width="medium"),
               "Unit": st.column_config.SelectboxColumn(options=units, width="small")}  # fmt: skip
    edited = st.data_editor(shown, hide_index=True, key="load_mapping" + options.get("sheet", ""), height="auto",
                            disabled=["Column", "Examples", "How", "Why"], alt="Mapping of columns to fields",
                            column_config=choices)  # fmt: skip
    mapping = preview.mapping.said(options)
    for column, row in zip(preview.columns, edited.itertuples(index=False), strict=True):
        field = None if row.Is == LEFT_OUT else row.Is
        unit = row.Unit if isinstance(row.Unit, str) else ""
        if field != column.field:
            allowed = fields.get(field or "", ())
            unit = unit if unit in allowed else (allowed[0] if allowed else "")
        if (field, unit) != (column.field, column.unit or ""):
            mapping = mapping.replace(column.source, field=field, unit=unit, decimal=column.decimal)
    return mapping, _kept([c for c in preview.columns if c.kept_out], name)


def _options(kept: dict[str, Any]) -> dict[str, str]:
    """How the file is written, where a person says so: sheet, decimal mark, order of dates, delimiter."""
    if "sheets" not in kept:
        return {}
    choices = {"sheet": ["Sheet", {name: name for name in kept["sheets"]}], **text.WORDS["file"]}
    chosen: dict[str, str] = {}
    with st.container(horizontal=True):
        for name, (label, values) in choices.items():
            if values:
                picked = st.selectbox(text.safe(label), list(values), index=None, key=f"load_{name}",
                                      placeholder="As the file tells")  # fmt: skip
                chosen |= {name: values[picked]} if picked in values else {}
    return chosen


def _kept(columns: Sequence[kpi.PreviewColumn], name: str) -> list[str]:
    """A tick box for each column that was kept out; those ticked."""
    if not columns:
        return []
    before = {key.casefold() for key in kpi.saved_allow(name)}
    size = words.format_count(len(columns), "columns")
    with st.expander(text.safe(f"{size} kept out to protect people"), icon=":material/lock:", expanded=True):
        st.caption(text.safe(text.TOLD["kept_out"]))
        ticked = [c.source for c in columns[:MOST_TICKS] if _ticked(c, name, c.source.casefold() in before)]
        if len(columns) > MOST_TICKS:
            st.caption("More are listed above: name them under Columns and keys to keep.")
    if ticked:
        st.warning(f"{text.safe(', '.join(ticked))} will be stored. Keep only what you may show to everybody here.",
                   icon=":material/warning:")  # fmt: skip
    return ticked


def _ticked(column: kpi.PreviewColumn, name: str, before: bool) -> bool:
    key = f"load_keep_{name}_{column.source}"
    st.session_state.setdefault(key, before)
    return st.checkbox(f"Keep {text.safe(column.source)} ({text.safe(column.why)})", key=key)


def _load(paths: Sequence[Path], name: str, mapping: kpi.Mapping | None, keep: Sequence[str], *, lossy: bool) -> None:
    loss = {"max_loss": 1.0} if lossy else {}
    with page.progress() as tell:
        found = kpi.load(paths, dataset=name, mapping=mapping, allow=keep, **loss, progress=tell)
    loaded(found)


def loaded(found: kpi.Receipt) -> None:
    """Keep the receipt of what this session has just loaded, look again at what is stored, and open it."""
    st.session_state["_receipt"], st.session_state["_loaded"] = found.to_json(), (found.dataset, found.version)
    data.forget()
    st.switch_page("views/data.py", query_params={"data": found.dataset})


def _done() -> None:
    """The receipt of this session's last load, and the way to its numbers."""
    kept = st.session_state.get("_receipt")
    if not kept:
        return
    found = kpi.Receipt.from_json(kept)
    with st.container(border=True):
        st.success(text.safe(f"Loaded into {found.dataset}, version {found.version}."), icon=":material/check_circle:")
        st.markdown("\n".join(f"- {text.safe(told)}" for told in words.support_sentences(
            kpi.profile(data.open_source(found.dataset, found.version)))))  # fmt: skip
        receipt(found, key="last")
        page.way("overview", "Open the Overview of this data", kpi.Slice(dataset=found.dataset))


def receipt(found: kpi.Receipt, *, key: str = "") -> None:
    """A load in plain sentences, then what was dropped and what was kept out. key: tells two on one page apart."""
    st.markdown("\n".join(f"- {text.safe(sentence)}" for sentence in words.receipt_sentences(found)))
    drops = [{"Row": d.row, "Reason": d.reason, "Remedy": d.hint, "File": d.file} for d in found.drops]
    unread = [{"Name": u.name, "Seen": u.count, "Example": words.format_number(u.example)} for u in found.unread]
    kept = [{"Name": n, "Seen": seen, "Because of": found.why_kept_out(n)} for n, seen in found.kept_out.items()]
    columns = [
        {"Column": c.source, "Is": c.field or LEFT_OUT, "Unit": c.unit, "How": "kept out" if c.kept_out else c.how,
         "Note": c.note}
        for c in found.columns
    ]  # fmt: skip
    counts = (found.dropped, len(unread), len(kept), len(columns))
    for rows, n, (title, icon, alt, told) in zip(
        (drops, unread, kept, columns), counts, text.WORDS["receipt"].values(), strict=True
    ):
        if rows:
            with st.expander(text.safe(f"{words.format_count(n)} {title}"), icon=f":material/{icon}:"):
                export.table(pd.DataFrame(rows), hide_index=True, alt=alt, key=key)
                if told:
                    st.caption(text.safe(told))


def versions(name: str) -> None:
    """The stored versions and the way back to one."""
    found = kpi.versions(name)
    shown = pd.DataFrame([
        {"Version": v.number, "Made": str(v.created_at)[:16].replace("T", " "), "Requests": v.requests,
         "Loaded": v.loaded, "From": v.origin, "Fingerprint": v.fingerprint,
         "State": "damaged" if v.damaged else "fine"}
        for v in found
    ])  # fmt: skip
    shown = shown.drop(columns=[c for c in ("From",) if shown[c].isna().all()])
    formats = {c: st.column_config.NumberColumn(format="localized") for c in ("Requests", "Loaded")}
    export.table(shown, hide_index=True, alt="Versions of the data set", height="content", column_config=formats)
    numbers = [v.number for v in found if not v.damaged]
    if len(numbers) < 2:
        st.caption("Every load that changes something makes a version; you can then go back to an earlier one.")
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        back = st.selectbox("Version", sorted(numbers, reverse=True)[1:], key="restore_version", width=160)
        st.button("Restore", icon=":material/history:", on_click=_restore, args=(name, back),
                  help="Makes a new version with the rows of this one; nothing is lost.")  # fmt: skip
        if st.session_state.pop("_restored", None):
            st.caption("Restored as the newest version.")


def _restore(name: str, number: int) -> None:
    try:
        kpi.restore(name, number)
        st.session_state["_restored"] = True
    except kpi.KpiError as error:
        page.problem(error)
    data.forget()
