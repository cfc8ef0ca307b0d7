"""Draws `results.json`: `python experiments/plot.py` writes docs/experiments_*.svg."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from atrous.draw.looks import AXIS, HEADER, LEGEND
from atrous.draw.offline import chart_svg
from experiments.run import RESULTS
from experiments.sequence import LAGS, paths
from experiments.sequence import schedules as listening
from experiments.shared import interval
from experiments.table import scores_of, whole

ROOT = Path(__file__).resolve().parents[1]
KINDS = ("field of 33, no holes", "a small field", "with holes", "mended by degrid")
INKS = ("#0072b2", "#e69f00", "#d55e00", "#009e73")
"""Blue, orange, vermilion, green of Okabe and Ito, which colour-blind eyes tell apart."""
SHAPES = ("circle", "square", "cross", "triangle-up")


def kind(name: str) -> str:
    """What a schedule stands for in the pictures."""
    if "degridded" in name:
        return KINDS[3]
    return {"plain": KINDS[1], "constant": KINDS[2]}.get(name, KINDS[0])


def rows(found: dict[str, Any]) -> list[dict[str, Any]]:
    """For each schedule and measure of the two tasks of pictures: mean, ends, price."""
    made = []
    for task in ("segmentation", "classification"):
        if not whole(found, task):
            continue
        for (name, _), by_seed in scores_of(found[task]).items():
            fact = found[task]["facts"][name]
            for measure in next(iter(by_seed.values())):
                each = interval([one[measure] for one in by_seed.values()])
                made.append(
                    {
                        "schedule": name,
                        "of": f"{task}: {measure}",
                        "mean": 100 * each.mean,
                        "low": max(0, 100 * each.low),
                        "high": min(100, 100 * each.high),
                        "MMACs": fact["macs"] / 1e6,
                        "kind": kind(name),
                    }
                )
    return made


def looks() -> dict[str, Any]:
    """Colour and shape of a kind."""
    domain = list(KINDS)
    return {
        "color": alt.Color(
            "kind:N", scale=alt.Scale(domain=domain, range=list(INKS)), legend=alt.Legend(**LEGEND)
        ),
        "shape": alt.Shape(
            "kind:N",
            scale=alt.Scale(domain=domain, range=list(SHAPES)),
            legend=alt.Legend(**LEGEND),
        ),
    }


def outcomes(found: dict[str, Any]) -> alt.Chart:
    """Each schedule's mean and 95% interval, for each measure."""
    data = alt.Data(values=rows(found))
    order = list(found["segmentation"]["facts"])
    y = alt.Y("schedule:N", sort=order, title=None, axis=alt.Axis(**AXIS))
    base = alt.Chart(data).encode(y=y, color=looks()["color"])
    x = alt.X(
        "mean:Q",
        title="percent, with 95% interval",
        scale=alt.Scale(zero=False, nice=True),
        axis=alt.Axis(**AXIS),
    )
    bars = base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q"), x2="high:Q")
    dots = base.mark_point(filled=True, size=70, opacity=1).encode(x=x, shape=looks()["shape"])
    return (
        alt.layer(bars, dots)
        .properties(width=250, height=210)
        .facet(
            facet=alt.Facet(
                "of:N",
                title=None,
                sort=[each["of"] for each in rows(found)],
                header=alt.Header(**HEADER),
            ),
            columns=2,
        )
        .resolve_scale(x="independent")
    )


def against_price(found: dict[str, Any]) -> alt.Chart:
    """The one network on four grids: accuracy against MACs."""
    heights = {"strided": 108, "hybrid 4": 102, "hybrid 2": 108, "doubling": 108}
    shown = [
        each
        for each in rows(found)
        if each["schedule"] in heights and not each["of"].endswith("mean IoU")
    ]
    base = alt.Chart(alt.Data(values=shown)).encode(
        x=alt.X(
            "MMACs:Q",
            scale=alt.Scale(type="log", domain=[0.5, 8], nice=False),
            title="million MACs for one scene",
            axis=alt.Axis(values=[0.5, 1, 2, 4, 8], **AXIS),
        ),
        color=alt.Color(
            "of:N",
            scale=alt.Scale(range=[INKS[0], INKS[1], INKS[3]]),
            legend=alt.Legend(**LEGEND),
        ),
    )
    y = alt.Y(
        "mean:Q",
        title="percent, with 95% interval",
        scale=alt.Scale(domain=[0, 112]),
        axis=alt.Axis(values=[0, 20, 40, 60, 80, 100], **AXIS),
    )
    lines = base.mark_line().encode(y=y)
    bars = base.mark_rule(strokeWidth=2).encode(y="low:Q", y2="high:Q")
    dots = base.mark_point(filled=True, size=70, opacity=1).encode(
        y=y, shape=alt.Shape("of:N", scale=alt.Scale(range=list(SHAPES)), legend=None)
    )
    priced = {each["schedule"]: each["MMACs"] for each in shown}
    words = [{"words": n, "x": priced[n], "at": at} for n, at in heights.items()]
    names = (
        alt.Chart(alt.Data(values=words))
        .mark_text(fontSize=12, font=AXIS["labelFont"])
        .encode(x="x:Q", y="at:Q", text="words:N")
    )
    return alt.layer(lines, bars, dots, names).properties(width=520, height=280)


def heard(found: dict[str, Any]) -> alt.Chart:
    """Accuracy against the lag for each schedule; hollow where the field does not read the lag."""
    made = []
    scores = scores_of(found["sequence"])
    for name, schedule in listening().items():
        for lag in LAGS:
            values = [one["accuracy"] for one in scores[name, lag].values()]
            each = interval(values)
            made.append(
                {
                    "schedule": name,
                    "lag": str(lag),
                    "mean": 100 * float(np.mean(values)),
                    "low": max(0, 100 * each.low),
                    "high": min(100, 100 * each.high),
                    "foretold": "the field reads this lag"
                    if paths(schedule, lag)
                    else "it does not: a coin's 50%",
                }
            )
    domain = ["the field reads this lag", "it does not: a coin's 50%"]
    base = alt.Chart(alt.Data(values=made)).encode(
        x=alt.X(
            "lag:O",
            sort=[str(lag) for lag in LAGS],
            title="lag",
            axis=alt.Axis(**{**AXIS, "labelAngle": 0}),
        ),
        color=alt.Color(
            "foretold:N",
            scale=alt.Scale(domain=domain, range=[INKS[0], INKS[2]]),
            legend=alt.Legend(**LEGEND),
        ),
    )
    y = alt.Y(
        "mean:Q", scale=alt.Scale(domain=[40, 100]), title="percent right", axis=alt.Axis(**AXIS)
    )
    dots = base.mark_point(filled=True, size=70, opacity=1).encode(
        y=y,
        shape=alt.Shape(
            "foretold:N",
            scale=alt.Scale(domain=domain, range=["circle", "cross"]),
            legend=alt.Legend(**LEGEND),
        ),
    )
    bars = base.mark_rule(strokeWidth=2).encode(y="low:Q", y2="high:Q")
    return (
        alt.layer(bars, dots)
        .properties(width=250, height=130)
        .facet(
            facet=alt.Facet(
                "schedule:N", title=None, sort=list(listening()), header=alt.Header(**HEADER)
            ),
            columns=2,
        )
    )


def main() -> None:
    """Three pictures, of what is trained."""
    found = json.loads(RESULTS.read_text())
    pictures = {"outcomes": outcomes, "price": against_price, "lags": heard}
    for name, draw in pictures.items():
        if not whole(found, "sequence" if draw is heard else "segmentation"):
            continue
        chart = draw(found).configure(background="#ffffff", view=alt.ViewConfig(stroke=None))
        path = ROOT / "docs" / f"experiments_{name}.svg"
        path.write_text(chart_svg(chart), encoding="utf-8")


if __name__ == "__main__":
    main()
