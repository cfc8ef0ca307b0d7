"""What follows from a stack and is read after its pictures: findings, schemes beside it, code."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from time import monotonic

from nicegui import ui

from atrous.analysis import Inspection, compare_networks, usual_stacks
from atrous.errors import AtrousError
from atrous.explore.code import CODES
from atrous.explore.draft import Draft
from atrous.explore.fixes import fix_for
from atrous.explore.tables import comparison_table, totals
from atrous.explore.widgets import PLAIN, alert, part, said, typed
from atrous.network.stack import stack_network

__all__ = ["Code", "Findings", "Schemes"]

MOST_FINDINGS = 8
PATIENCE = 0.3
"""Seconds for which fixes are looked for: each try is a report, and all visitors wait for it."""


class Findings:
    """What needs attention, with a button where an edit mends it."""

    def __init__(self, take: Callable[[Draft], None]) -> None:
        self._take = take
        with part("Findings"):
            self._list = ui.column().classes("gap-2 w-full").props("aria-live=polite")
            self._total = ui.label("").classes("note")

    def total(self, report: Inspection) -> None:
        """The line below the findings: what the output sees, and what all costs."""
        self._total.set_text(totals(report))

    def show(self, draft: Draft, report: Inspection) -> None:
        """The findings of a draft."""
        self._list.clear()
        until = monotonic() + PATIENCE
        with self._list:
            if not report.findings:
                ui.label("Nothing needs attention.")
            for finding in report.findings[:MOST_FINDINGS]:
                with ui.column().classes(f"finding {finding.severity} gap-1 w-full"):
                    title = f"{finding.severity}: {finding.code}, {finding.layer}"
                    ui.label(title).classes("text-weight-bold")
                    ui.label(finding.message)
                    ui.label(finding.fix).classes("note")
                    fix = fix_for(draft, finding, report, stop=lambda: monotonic() > until)
                    if fix is not None:
                        button = ui.button(f"Apply: {fix.what}").props(PLAIN)
                        button.on_click(lambda made=fix.draft: self._take(made))


class Schemes:
    """The stack, another one, and the usual schemes side by side on its input."""

    def __init__(self) -> None:
        self._draft: Draft | None = None
        self._filling = False
        with part("Compare"):
            title = "Beside: another stack, or nothing"
            self._beside = typed(title, self._take, lambda: self._filling)
            self._table = ui.html("", sanitize=False).classes("scroll")
            self._table.props('tabindex=0 role=region aria-label="Schemes side by side"')

    def put_beside(self, text: str) -> None:
        """Another stack to stand beside the one that is edited."""
        self._filling = True
        self._beside.set_value(text)
        self._beside.error = None
        self._filling = False

    def show(self, draft: Draft) -> None:
        """The schemes on a draft's input."""
        self._draft = draft
        self._fill(str(self._beside.value or "") if self._beside.error is None else "")

    def _take(self, text: str) -> None:
        if self._draft is not None:
            if text.strip():
                Draft.of(text, self._draft.shape)
            self._fill(text)

    def _fill(self, beside: str) -> None:
        draft = self._draft
        assert draft is not None
        texts = {"this stack": draft.text}
        if beside.strip():
            texts["beside"] = beside
        kernel = max(draft.layers[0].kernel[0], 2)
        texts |= usual_stacks(kernel, min(len(draft.layers), 6), draft.shape[1])
        networks, sources = {}, {}
        for name, text in texts.items():
            try:
                networks[name] = stack_network(text, draft.shape)
                sources[name] = text if len(text) < 60 else f"{text[:57]}..."
            except AtrousError:
                # One that does not fit this input has no row.
                continue
        self._table.set_content(comparison_table(compare_networks(networks, sources)))


class Code:
    """The stack as code."""

    def __init__(self) -> None:
        self._draft: Draft | None = None
        with part("Code"):
            self._language = ui.radio(list(CODES), value="PyTorch", on_change=self._write)
            self._language.props("inline")
            self._text = ui.html("", sanitize=False).classes("w-full")
            self._problem = alert()

    def show(self, draft: Draft) -> None:
        """A draft's code in the language that is chosen."""
        self._draft = draft
        self._write()

    def _write(self) -> None:
        self._text.set_content("")
        if self._draft is None:
            return
        with said(self._problem):
            text = escape(CODES[str(self._language.value)](self._draft))
            self._text.set_content(
                f'<pre class="code" tabindex="0" role="region" aria-label="Code">{text}</pre>'
            )
