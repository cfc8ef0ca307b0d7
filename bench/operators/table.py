"""Writes the tables of README.md from `results.json`: `python bench/operators/table.py [FILE]`.

With a file it prints them instead.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "shared"))
from machine import sentence
from readme import write

HERE = Path(__file__).parent
OURS = "atrous"
FORMS = (OURS, f"{OURS}, prepared")
EAGER = "PyTorch"
LAYOUTS = ("contiguous", "channels_last")
STRATEGIES = ("framework", "phases", "taps", "slices")
DENSE3 = "dense3"
PRODUCTS = "products"
ROWS = ("row kernel", "strassen 1", "strassen 2")  # as in peers.py, which needs PyTorch
ROUNDING = 8  # times direct float32's error, within which `optimize` takes minimal filtering
OPS = ("forward", "data gradient", "weight gradient")
Entry = dict[str, Any]


def fastest(entry: Entry, names: Iterable[str], layout: str = "") -> tuple[float, str]:
    """The smallest median among those, and whose it is; infinite where none took part."""
    wanted = set(names)
    return min(
        (
            (c["median_ms"], label)
            for label, c in entry["contestants"].items()
            if c["by"] in wanted and layout in ("", c["layout"])
        ),
        default=(math.inf, ""),
    )


def peers(entry: Entry) -> set[str]:
    """Everybody but us."""
    return {c["by"] for c in entry["contestants"].values() if not c["by"].startswith(OURS)}


def ours(entry: Entry, layout: str = "") -> float:
    """Called as it is, or with the weights packed beforehand, as the peers' sessions have them."""
    return fastest(entry, FORMS, layout)[0]


def ahead(entry: Entry, layout: str = "") -> float:
    """The fastest peer's time over ours, in the better layout of each or both in one."""
    return ratio(fastest(entry, peers(entry), layout)[0], ours(entry, layout))


def ratio(theirs: float, time: float) -> float:
    """Times ours; not a number where one of the two did not take part."""
    return theirs / time if math.isfinite(theirs) and math.isfinite(time) else math.nan


def mean(values: Iterable[float]) -> float:
    """The geometric mean; not a number where there is nothing."""
    logs = [math.log(v) for v in values if math.isfinite(v) and v > 0]
    return math.exp(math.fsum(logs) / len(logs)) if logs else math.nan


def finite(values: Iterable[float]) -> list[float]:
    return [v for v in values if math.isfinite(v)]


def number(value: float, digits: int = 2) -> str:
    """Three figures or so, or a dash where nothing was measured."""
    if not math.isfinite(value):
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.{digits}f}"


def milliseconds(value: float) -> str:
    return "-" if not math.isfinite(value) else f"{value:.3f}" if value < 10 else f"{value:.1f}"


def row(*cells: object) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def head(*names: str) -> list[str]:
    return [row(*names), row(*("---" for _ in names))]


def families(entries: list[Entry]) -> Iterator[tuple[str, str, list[Entry]]]:
    """Layers timed at several rates: the layer, the direction and the entries from rate 1 up."""
    found: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        if entry["flat"]:
            found.setdefault((f"{entry['suite']} {entry['layer']}", entry["op"]), []).append(entry)
    for op in OPS:
        for (layer, of), group in found.items():
            if of == op and len(group) > 1:
                yield layer, op, sorted(group, key=lambda e: e["dilation"])


def rise(group: list[Entry], name: str, layout: str) -> tuple[float, int]:
    """The largest time over rates against the time at rate 1, and that rate."""
    first = fastest(group[0], [name], layout)[0]
    if group[0]["dilation"] != 1 or not math.isfinite(first):
        return math.nan, 0
    return max((fastest(e, [name], layout)[0] / first, e["dilation"]) for e in group)


def flatness(entries: list[Entry]) -> Iterator[str]:
    """How much a rate costs."""
    yield from head(
        "layer", "direction", "rate 1, ms", "ours", "ours, channels last", "PyTorch",
        "PyTorch, channels last",
    )  # fmt: skip
    for layer, op, group in families(entries):
        cells = []
        for name in (OURS, EAGER):
            for layout in LAYOUTS:
                most, rate = rise(group, name, layout)
                cells.append(f"{number(most)} (rate {rate})" if math.isfinite(most) else "-")
        yield row(layer, op, milliseconds(ours(group[0])), *cells)


def flatness_summary(entries: list[Entry]) -> Iterator[str]:
    for op in OPS:
        ratios = finite(
            rise(group, OURS, layout)[0]
            for _, of, group in families(entries)
            if of == op
            for layout in LAYOUTS
        )
        if ratios:
            flat = sum(r <= 1.15 for r in ratios)
            yield (
                f"- {op}: {flat} of {len(ratios)} layers and layouts within 1.15 times their own "
                f"rate-1 time; the most is {number(max(ratios))}."
            )


def cliffs(entries: list[Entry]) -> Iterator[str]:
    """Against PyTorch where it falls off: best of both layouts against best of both."""
    yield from head(
        "where PyTorch falls off", "cases", "least", "geometric mean", "most", "8 or more"
    )
    groups: dict[str, list[float]] = {}
    for entry in entries:
        if entry["cliff"]:
            found = ratio(fastest(entry, [EAGER])[0], ours(entry))
            groups.setdefault(entry["cliff"], []).append(found)
    for name, ratios in groups.items():
        known = finite(ratios)
        if known:
            yield row(
                name, len(known), number(min(known)), number(mean(known)), number(max(known)),
                sum(r >= 8 for r in known),
            )  # fmt: skip


def standing(entries: list[Entry]) -> Iterator[str]:
    """Against the fastest peer of each case."""
    yield from head(
        "cases", "number", "least", "geometric mean", "most", "below 0.95", "one layout: least",
        "geometric mean",
    )  # fmt: skip
    kinds = {
        "all": entries,
        **{
            f"depthwise, {op}": [e for e in entries if e["depthwise"] and e["op"] == op]
            for op in OPS
        },
        "dense, forward": [e for e in entries if not e["depthwise"]],
    }
    for name, group in kinds.items():
        best = finite(ahead(e) for e in group)
        each = finite(ahead(e, layout) for e in group for layout in LAYOUTS)
        if best:
            yield row(
                name, len(best), number(min(best)), number(mean(best)), number(max(best)),
                sum(r < 0.95 for r in best), number(min(each)), number(mean(each)),
            )  # fmt: skip


def memory_bound(entry: Entry, product: float) -> bool:
    """Whether the arithmetic, at the speed of a matrix product, takes less than half the copy."""
    return (
        entry["depthwise"]
        and entry["op"] != "weight gradient"
        and entry["macs"] / product / 1e6 < entry["copy"]["median_ms"] / 2
    )


def bandwidth(entries: list[Entry], product: float) -> Iterator[str]:
    chosen = [e for e in entries if memory_bound(e, product)]
    shares = {e["name"]: ratio(e["copy"]["median_ms"], ours(e)) for e in chosen}
    shares = {name: share for name, share in shares.items() if math.isfinite(share)}
    known = list(shares.values())
    if not known:
        return
    low = min(shares, key=lambda name: shares[name])
    yield (
        f"{len(known)} cases are bound by memory: their arithmetic, at the {product:.0f} GMAC/s of "
        "a matrix product in this run, takes less than half the time of a plain copy of the same "
        f"bytes. {sum(s >= 0.7 for s in known)} of them reach 70% of the copy's bandwidth; the "
        f"geometric mean is {mean(known):.0%}, the least {shares[low]:.0%} ({low})."
    )


def strategies(entries: list[Entry]) -> Iterator[str]:
    """What each exact strategy takes where channels mix; `optimize` takes the fastest."""
    names = [f"{OURS}: {name}" for name in STRATEGIES]
    yield from head("case", "atrous.conv, ms", *STRATEGIES, "fastest peer", "times the fastest")
    for entry in entries:
        each = [fastest(entry, [name])[0] for name in names]
        if not entry["depthwise"] and any(math.isfinite(t) for t in each):
            peer = fastest(entry, peers(entry))[0]
            yield row(
                entry["name"].removesuffix(", forward"),
                milliseconds(ours(entry)),
                *(milliseconds(t) for t in each),
                milliseconds(peer),
                number(ratio(peer, min(*each, ours(entry)))),
            )


def direct_error(entry: Entry) -> float:
    """What PyTorch's own call rounds, in the better layout; infinite where it took no part."""
    errors = [c["error"] for c in entry["contestants"].values() if c["by"] == EAGER]
    return min(errors, default=math.inf)


def chosen(entry: Entry) -> tuple[float, str]:
    """Our fastest contestant of those that round at most `ROUNDING` times what PyTorch does."""
    allowed = ROUNDING * direct_error(entry)
    return min(
        (
            (c["median_ms"], label)
            for label, c in entry["contestants"].items()
            if c["by"].startswith(OURS) and c["error"] <= allowed
        ),
        default=(math.inf, ""),
    )


def dense_ahead(entry: Entry) -> float:
    """The fastest peer's time over that of our choice."""
    return ratio(fastest(entry, peers(entry))[0], chosen(entry)[0])


def dense3(entries: list[Entry]) -> Iterator[str]:
    """Dense 3x3 layers: a summary, then each case with what it rounds."""
    wide = [e for e in entries if e["suite"].startswith(DENSE3)]
    yield from head("cases", "number", "geometric mean", "least", "of", "below 1.3")
    for suite in dict.fromkeys(e["suite"] for e in wide):
        found = {e["name"]: dense_ahead(e) for e in wide if e["suite"] == suite}
        found = {name: value for name, value in found.items() if math.isfinite(value)}
        if found:
            least = min(found, key=lambda name: found[name])
            yield row(
                suite, len(found), number(mean(found.values())), number(found[least]),
                short(least), sum(value < 1.3 for value in found.values()),
            )  # fmt: skip
    if not wide:
        return
    yield ""
    yield from head(
        "case", "ours, ms", "which", "fastest peer, ms", "who", "times ours", "error",
        "in direct errors",
    )  # fmt: skip
    for entry in wide:
        time, label = chosen(entry)
        peer, who = fastest(entry, peers(entry))
        error = entry["contestants"][label]["error"] if label else math.nan
        yield row(
            short(entry["name"]),
            milliseconds(time),
            contestant_name(label).removeprefix(f"{OURS}: ") or "-",
            milliseconds(peer),
            contestant_name(who),
            number(dense_ahead(entry)),
            f"{error:.1e}" if label else "-",
            number(error / direct_error(entry), 1) if label else "-",
        )


def products(entries: list[Entry]) -> Iterator[str]:
    """Layers of one tap: how much longer the fastest peer takes than each product on rows."""
    found = [e for e in entries if e["suite"] == PRODUCTS]
    yield from head("layer", "fastest peer, ms", "who", *ROWS, "chosen", "errors, in direct ones")
    columns: dict[str, list[float]] = {name: [] for name in (*ROWS, "chosen")}
    for entry in found:
        peer, who = fastest(entry, peers(entry))
        ahead = {one: ratio(peer, fastest(entry, [f"{OURS}: {one}"])[0]) for one in ROWS}
        ahead["chosen"] = dense_ahead(entry)
        for one, value in ahead.items():
            columns[one].append(value)
        errors = {c["by"]: c["error"] / direct_error(entry) for c in entry["contestants"].values()}
        yield row(
            entry["layer"], milliseconds(peer), contestant_name(who), *map(number, ahead.values()),
            ", ".join(number(errors.get(f"{OURS}: {one}", math.nan), 1) for one in ROWS),
        )  # fmt: skip
    if found:
        means = [number(mean(values)) for values in columns.values()]
        yield row("geometric mean", "", "", *means, "")


def short(name: str) -> str:
    """A case without what all of a section share."""
    return name.removesuffix(", forward").replace(": dense ", " ").removeprefix(f"{DENSE3} ")


def contestant_name(label: str) -> str:
    """As a reader would say it."""
    return label.replace(", contiguous", "").replace("channels_last", "channels last")


def everything(entries: list[Entry]) -> Iterator[str]:
    """Every case, in the order of the run."""
    yield from head(
        "case", "ours, ms", "channels last", "fastest peer, ms", "who", "times ours", "copy, ms",
        "error", "peer's",
    )  # fmt: skip
    for entry in entries:
        peer, who = fastest(entry, peers(entry))
        errors = {
            of: [
                c["error"] for c in entry["contestants"].values() if c["by"].startswith(OURS) == of
            ]
            for of in (True, False)
        }
        yield row(
            entry["name"],
            milliseconds(ours(entry, "contiguous")),
            milliseconds(ours(entry, "channels_last")),
            milliseconds(peer),
            contestant_name(who),
            number(ahead(entry)),
            milliseconds(entry["copy"]["median_ms"]),
            f"{max(errors[True]):.0e}" if errors[True] else "-",
            f"{max(errors[False]):.0e}" if errors[False] else "-",
        )


def disturbed(found: dict[str, Any]) -> str:
    """How many turns something else disturbed, where the run noted it."""
    noted = found.get("disturbed")
    if noted is None:
        return ""
    share = noted["disturbed"] / max(noted["turns"], 1)
    return (
        f" {share:.1%} of {noted['turns']} turns were disturbed and repeated; {noted['kept']} of "
        "them count, because every repeat was disturbed as well."
    )


def tables(found: dict[str, Any]) -> str:
    """The machine, then each section that has something to show."""
    entries = found["cases"]
    quick = " A quick run: few cases and few turns." if found["quick"] else ""
    opening = (
        f"{sentence(found['machine'])} {len(entries)} cases in {found['seconds'] / 60:.0f} "
        f"minutes; {found['turns']} turns each.{disturbed(found)}{quick}"
    )
    parts = [opening]
    sections = (
        (
            "Rates",
            "The largest time over all rates, in times of the same layer at rate 1 (and the rate).",
            [*flatness_summary(entries), "", *flatness(entries)],
        ),
        (
            "PyTorch's cliffs",
            "PyTorch's time over ours, each in its better layout.",
            list(cliffs(entries)),
        ),
        (
            "The fastest peer, case by case",
            "The fastest peer's time over ours: each in its better layout, then both in one.",
            list(standing(entries)),
        ),
        (
            "Dense 3x3 layers",
            f"The fastest peer's time over ours, whose error is at most {ROUNDING} direct ones.",
            list(dense3(entries)),
        ),
        (
            "Products on rows",
            "The fastest peer's time over that of each, and over that of the choice.",
            list(products(entries)),
        ),
        (
            "Strategies for layers that mix channels",
            "Each in its better layout; `atrous.conv` does not measure, `optimize` does.",
            list(strategies(entries)),
        ),
        ("Memory", "", list(bandwidth(entries, found["product_gmacs"]))),
        (
            "Every case",
            "Medians. Errors are the largest of any layout (and of any peer), against float64.",
            list(everything(entries)),
        ),
    )
    for title, note, lines in sections:
        body = "\n".join(lines).strip()
        # A table without rows is its head and the line below it.
        if body and not (body.startswith("|") and body.count("\n") < 2):
            parts += [f"### {title}", *filter(None, [note]), body]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    write(HERE, tables)
