"""`start` and `stop` of what an output reads are those of a slice, in arrays, tables and JSON."""

import pytest
import torch

import atrous


def _model():
    return torch.nn.Sequential(
        torch.nn.Conv1d(1, 2, 3, stride=2, padding=1),
        torch.nn.Conv1d(2, 1, 2, dilation=3, padding=3),
    )


def _read(model, length, output):
    """The positions that change one output, each tried alone."""
    model = model.double().eval()
    read = []
    for place in range(length):
        x = torch.zeros(1, 1, length, dtype=torch.float64)
        x[0, 0, place] = torch.nan
        if model(x)[0, 0, output].isnan():
            read.append(place)
    return read


@pytest.mark.parametrize("output", [0, 5, 12])
def test_a_stretch_is_the_slice_from_the_first_position_read_to_one_behind_the_last(output):
    torch.manual_seed(0)
    report = atrous.inspect(_model(), (1, 1, 25))
    read = _read(_model(), 25, output)
    times = report.times()
    start, stop = (ends[output] for ends in times.inside())
    assert list(range(25))[start:stop] == list(range(read[0], read[-1] + 1))
    words = str(report.footprint(at=output))
    assert f"reads t {start} to {stop - 1}: " in words


def test_the_table_has_the_columns_of_the_record_and_says_what_stop_is():
    report = atrous.inspect(_model(), (1, 1, 25))
    times = report.times()
    _, titles, _, first, *_, note = str(times).splitlines()
    assert titles.split() == ["output", "start", "stop", "center"]
    assert first.split()[1:3] == [str(times.start[0]), str(times.stop[0])]
    assert note == "each reads from start up to stop - 1, as the slice [start:stop]"
    assert "from" not in titles
    assert times.to_dict()["range"] == "start <= position < stop"


def test_in_a_unit_the_columns_name_it_and_stop_is_where_the_last_position_ends():
    boxes = atrous.inspect("stack:k3s2 k3", (1, 1, 16, 16)).boxes(pixel="2um,3um")
    text = str(boxes)
    assert text.count("start um  stop um  center um") == 2
    assert text.splitlines()[-1].endswith("where the last position that it reads ends")
    assert text.count("where the last position") == 1
    assert boxes.at((1, 1)) == ((-2.0, 12.0), (-3.0, 18.0))
    assert all(axis["range"] == "start <= position < stop" for axis in boxes.to_dict()["axes"])
