"""The Data page shows the measures of a file that nobody reads."""

from __future__ import annotations

from pathlib import Path

from tests.unit.span_loading import message, span


def test_the_receipt_lists_measures_that_nobody_reads(empty_app, home: Path) -> None:
    call = {"gen_ai.operation.name": "chat", "acme.prompt_tokens": 1251}
    at = empty_app("data")
    file = ("t.jsonl", message([span(1, attributes=call)]), "application/json")
    at.file_uploader(key="load_files").set_value([file]).run()
    at.button(key="load_go").click().run()
    assert not at.exception
    shown = [frame.value for frame in at.dataframe if list(frame.value.columns) == ["Name", "Seen", "Example"]]
    assert [frame.to_dict("records") for frame in shown] == [
        [{"Name": "acme.prompt_tokens", "Seen": 1, "Example": "1,251"}]
    ]
