"""Records as text, fragments and pages; computes nothing.

One file a record: its lines, and its view, which registers itself with `atrous.shown.view` when the
file is imported.
May import: `draw`, `certification` and below; numpy in `drawing` and `pages`, which are
imported when one is drawn; Jinja and Altair inside functions.
A new record gets a file here, and its view a line below.
"""

from __future__ import annotations

from atrous.draw.rows import SORTS, Sort
from atrous.report.certificate import CertificateView
from atrous.report.checks import CheckView
from atrous.report.comparison import ComparisonView
from atrous.report.conversion import ConversionView
from atrous.report.degridded import DegriddedView
from atrous.report.design import DesignsView, DesignView
from atrous.report.diff import DiffView
from atrous.report.effective import EffectiveFieldView
from atrous.report.explained import ExplainedView
from atrous.report.footprint import FootprintView
from atrous.report.inspection import InspectionView, Listed
from atrous.report.layer import LayerView
from atrous.report.lesson import LessonsView, LessonView, TopicsView
from atrous.report.lines import Look
from atrous.report.networks import NetworksView
from atrous.report.optimized import ExplanationView
from atrous.report.rates import PyramidRatesView, PyramidView
from atrous.report.sizes import SizesView
from atrous.report.stack import StackView
from atrous.report.stream import StreamView
from atrous.report.stream_audit import StreamAuditView
from atrous.report.stream_run import StreamRunView
from atrous.report.streams import ContextView, StreamPlanView
from atrous.report.stretches import BoxesView, StretchesView
from atrous.report.tile_audit import TileAuditView
from atrous.report.tiles import CutPlanView, TilePlanView
from atrous.report.training import TrainingView
from atrous.report.view import LinesView, TextView
from atrous.shown import Shown, view

__all__ = [
    "SORTS",
    "BoxesView",
    "CertificateView",
    "CheckView",
    "ComparisonView",
    "ContextView",
    "ConversionView",
    "CutPlanView",
    "DegriddedView",
    "DesignView",
    "DesignsView",
    "DiffView",
    "EffectiveFieldView",
    "ExplainedView",
    "ExplanationView",
    "FootprintView",
    "InspectionView",
    "LayerView",
    "LessonView",
    "LessonsView",
    "LinesView",
    "Listed",
    "Look",
    "NetworksView",
    "PyramidRatesView",
    "PyramidView",
    "SizesView",
    "Sort",
    "StackView",
    "StreamAuditView",
    "StreamPlanView",
    "StreamRunView",
    "StreamView",
    "StretchesView",
    "TileAuditView",
    "TilePlanView",
    "TopicsView",
    "TrainingView",
]

# The last one: a thread that asks while these are being registered must not be given the text of a
# record that has a view of its own.
view.register(Shown)(TextView)
