"""Networks as folded graphs: nothing is lost, and every box says what is inside."""

from __future__ import annotations

from xml.etree import ElementTree as Xml

import pytest

import atrous
from atrous.analysis import inspect_network
from atrous.draw.collapsed import collapse, modules
from atrous.draw.graph import COLOURINGS, graph_svg
from atrous.errors import UnknownNameError, UnsupportedError
from atrous.network import Builder, zoo
from atrous.network.ops import Elementwise
from atrous.shown import view

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module", params=["resnet50", "unet", "deeplabv3_resnet50", "inception_v3"])
def report(request):
    return atrous.inspect(f"zoo:{request.param}")


def test_layers_and_costs_of_all_boxes_add_up_to_the_network(report):
    boxes = [b for b in collapse(report).boxes if b.kind not in ("input", "output")]
    constants = sum(layer.op == "constant" for layer in report.layers)
    assert sum(box.layers for box in boxes) + constants == len(report.layers)
    assert sum(box.macs for box in boxes) == report.macs


def test_each_tensor_that_crosses_boxes_is_an_edge(report):
    for module in modules(report):
        folded = collapse(report, module)
        names = {box.name for box in folded.boxes}
        assert len(names) == len(folded.boxes)
        assert all({edge.start, edge.end} <= names for edge in folded.edges)
        inner = {box.name for box in folded.boxes if box.kind not in ("input", "output")}
        reached = {edge.end for edge in folded.edges} | {edge.start for edge in folded.edges}
        assert inner <= reached


def test_each_finding_is_counted_once_on_each_level(report):
    marked = [code for box in collapse(report).boxes for code in box.findings]
    assert set(marked) == {f.code for f in report.findings if f.layer in _names(report)}


def _names(report):
    return {layer.name for layer in report.layers}


def test_opening_a_module_shows_its_inside_and_its_surroundings_as_ends():
    folded = collapse(atrous.inspect("zoo:resnet50"), "layer1.0")
    labels = {box.label: box for box in folded.boxes}
    assert labels["maxpool"].kind == "input"
    assert labels["downsample"].opens
    assert labels["conv2"].detail == "k3 p1"
    assert sum(box.kind == "output" for box in folded.boxes) == 1


@pytest.mark.parametrize("colour", COLOURINGS)
def test_the_drawing_has_each_box_and_edge_once(report, colour):
    folded = collapse(report)
    tree = Xml.fromstring(graph_svg(report, colour=colour))
    boxes = [g for g in tree.iter(f"{SVG}g") if g.get("class", "").startswith("box")]
    assert len(boxes) == len(folded.boxes)
    [edges] = [g for g in tree.iter(f"{SVG}g") if g.get("class") == "edges"]
    assert len(edges.findall(f"{SVG}path")) == len(folded.edges)
    # The bar in a box is as long as what the colouring says of it.
    for drawn, box in zip(boxes, folded.boxes, strict=True):
        lengths = {
            part.get("class"): float(part.get("d").partition("h")[2].partition("v")[0])
            for part in drawn.findall(f"{SVG}path")
        }
        if colour == "coverage" and box.coverage is not None and lengths:
            assert lengths["bar"] == pytest.approx(box.coverage * lengths["track"], abs=0.1)
        if colour == "cost" and lengths:
            share = box.macs / report.macs
            assert lengths["bar"] == pytest.approx(share * lengths["track"], abs=0.1)
    # No box lies on another.
    places = [
        tuple(float(g.find(f"{SVG}rect").get(key)) for key in ("x", "y", "width", "height"))
        for g in boxes
    ]
    for place, (x, y, w, h) in enumerate(places):
        for a, b, c, d in places[:place]:
            assert x + w <= a + 0.2 or a + c <= x + 0.2 or y + h <= b + 0.2 or b + d <= y + 0.2


def test_names_from_outside_are_text_and_nothing_else():
    b = Builder("<script>")
    x = b.input("x", (1, 3, 16, 16))
    y = b.conv(x, 4, 3, name='"]; <img src=x> \x07 & "')
    report = atrous.inspect(b.build(y))
    tree = Xml.fromstring(graph_svg(report))
    assert {element.tag.replace(SVG, "") for element in tree.iter()} <= {
        "svg", "g", "path", "rect", "title", "text", "circle",
    }  # fmt: skip
    assert any("<img src=x>" in (text.text or "") for text in tree.iter(f"{SVG}text"))


def test_what_is_too_tangled_to_lay_out_is_refused_and_left_out_of_pages():
    b = Builder("tangled")
    maps = [b.input("x", (1, 2, 8, 8))]
    for place in range(260):
        maps.append(b.add(Elementwise("add"), b.conv(maps[-1], 2, 1), maps[place // 2]))
    report = inspect_network(b.build(maps[-1]))
    with pytest.raises(UnsupportedError, match="too tangled to lay out"):
        graph_svg(report)
    assert "Too many edges cross here" in view(report).page()


def test_unknown_modules_and_colours_are_named_with_the_known_ones():
    report = atrous.inspect("zoo:resnet50")
    with pytest.raises(UnknownNameError, match="layer9"):
        report.graph("layer9")
    with pytest.raises(UnknownNameError, match="coverage"):
        report.graph(colour="age")


def test_every_known_network_can_be_drawn():
    for name in zoo.names():
        assert graph_svg(atrous.inspect(f"zoo:{name}")).startswith("<svg")
