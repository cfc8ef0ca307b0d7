"""`atrous learn`: topics, a topic, all of them, and what cannot be."""

import json

import pytest

from tests.command import assert_refuses, atrous


def test_without_a_topic_the_topics_are_listed():
    done = atrous("learn")
    assert done.returncode == 0
    assert "receptive-field" in done.stdout
    listed = json.loads(atrous("learn", "--json").stdout)
    assert [one["topic"] for one in listed["topics"]][:2] == ["definition", "strided"]


def test_a_topic_is_told_with_the_readers_numbers():
    done = atrous("learn", "formula", "--kernel", "5", "--dilation", "3")
    assert "5 + 4 x 2 = 13" in done.stdout
    data = json.loads(atrous("learn", "formula", "--kernel", "5", "--json").stdout)
    assert data["schema"] == "atrous.lesson/1"
    assert data["numbers"]["kernel"] == 5
    assert {one["verdict"] for one in data["statements"]} == {"true"}


def test_all_topics_follow_one_another_within_80_columns():
    done = atrous("learn", "all")
    assert done.returncode == 0
    assert done.stdout.index("Strided convolution") < done.stdout.index("Feature maps")
    assert max(map(len, done.stdout.splitlines())) <= 84
    lessons = json.loads(atrous("learn", "all", "--json").stdout)["lessons"]
    assert sum(len(one["statements"]) for one in lessons) == 54


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["gridd"], "no topic is named 'gridd'; near: gridding"),
        (["gridding", "--kernel", "99"], "--kernel 99 is no whole number from 1 to 15"),
        (["gridding", "--input", "1,3"], "1 to 3 sizes"),
        (["gridding", "--input", "2,3,8,8"], "batch of 1"),
        (["gridding", "--input", "a=1,3,8,8"], "one --input"),
        (["gridding", "--input", "1,3,8,8; 1,3,8,8"], "one --input"),
    ],
)
def test_what_cannot_be_is_one_line(arguments, says):
    assert_refuses("learn", *arguments, says=says)
