"""Every twin of every export, judged, and what a report tells of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from tests.twins import frames
from tests.twins.damage import BYTES, FILES
from tests.twins.exports import Export
from tests.twins.forms import Form, span_forms
from tests.twins.judge import CRASHED, EQUAL, REFUSED, SAID, SILENT, Verdict, judge, load
from tests.twins.tables import table_forms

VERDICTS = (EQUAL, REFUSED, SAID, SILENT, CRASHED)
Wanted = Callable[[str, str], bool]


def forms(export: Export) -> Iterator[Form]:
    """Every form that applies to an export."""
    stem, _, suffix = export.file.partition(".")
    for name, (added, change) in BYTES.items():
        if (data := change(export.data)) is not None:
            yield Form(name, {export.file + added: data})
    for name, made in FILES.items():
        if (files := made(export.data, stem, suffix)) is not None:
            yield Form(name, dict(files))
    if spans := export.spans:
        yield from span_forms(spans)
    yield from table_forms(export.data)


def battery(chosen: Iterable[Export], wanted: Wanted = lambda export, form: True) -> Iterator[Verdict]:
    """The verdict of each wanted twin."""
    for export in chosen:
        yield from judged(export, (form for form in forms(export) if wanted(export.name, form.name)))


def judged(export: Export, some: Iterable[Form]) -> Iterator[Verdict]:
    """The verdict of some twins of an export; none where the export itself does not load."""
    clean = load({export.file: export.data})
    if not clean.typed:
        yield Verdict(export.name, "it is", CRASHED, error=clean.error)
    if not clean.requests:
        return
    for form in some:
        equal = load(form.beside) if form.beside else clean
        yield judge(export.name, form.name, equal, load(form.files), form.expected)


def in_memory(chosen: Iterable[Export], wanted: Wanted = lambda export, form: True) -> Iterator[Verdict]:
    """The verdict of each table as frames and as tables of databases."""
    for export in chosen:
        yield from (v for v in frames.verdicts(export.name, export.data) if wanted(v.export, v.form))


def counts(verdicts: Iterable[Verdict]) -> str:
    """One line, as `make bench` prints it."""
    found = list(verdicts)
    by = Counter(v.verdict for v in found)
    exports = len({v.export for v in found})
    return (
        f"{len(found):,} poisoned twins of {exports} exports: {by[EQUAL]:,} equal, {by[REFUSED]:,} refused with a "
        f"remedy, {by[SAID]:,} said on the receipt, {by[SILENT]:,} silent differences, {by[CRASHED]:,} untyped errors"
    )


def report(verdicts: Iterable[Verdict], most: int = 60) -> str:
    """The counts; the silent ones by form, with their metrics and some exports; then each of them."""
    found = list(verdicts)
    bad = [v for v in found if v.verdict in (SILENT, CRASHED)]
    lines = [counts(found)]
    by_form: dict[str, list[Verdict]] = {}
    for v in bad:
        by_form.setdefault(v.form, []).append(v)
    for form, held in sorted(by_form.items(), key=lambda item: -len(item[1])):
        metrics = Counter(m for v in held for m in (v.error, *v.silent) if m)
        told = ", ".join(f"{m} {n}" for m, n in metrics.most_common(8))
        lines.append(f"  {len(held):4} {form}: {told} (as {', '.join(v.export for v in held[:2])})")
    return "\n".join([*lines, *(f"  {v}"[:400] for v in bad[:most])])
