"""`learn`: what is said of stride and dilation, each statement beside what is computed."""

from __future__ import annotations

from collections.abc import Sequence

from atrous.lessons import Lesson, Numbers, lesson_of

__all__ = ["learn"]


def learn(
    topic: str,
    *,
    kernel: int = 3,
    stride: int = 2,
    dilation: int = 2,
    depth: int = 4,
    channels: int = 64,
    input: Sequence[int] = (1, 3, 128, 128),
    measure: bool = False,
) -> Lesson:
    """The statements of a topic, whether each holds, and what is exactly true of it.

    The numbers are those that the statements are tried with; `input` is a shape with batch,
    channels and 1 to 3 sizes. `measure` also takes times, on this machine. Topics are those that
    `atrous learn` lists. Raises `UnknownNameError` for another one, and `GeometryError` for numbers
    out of bounds.

    >>> import atrous
    >>> lesson = atrous.learn("formula", kernel=5, dilation=3)
    >>> lesson["dilated"].verdict, lesson["dilated"].exactly.partition(",")[0]
    ('true', '5 + 4 x 2 = 13')
    """
    given = Numbers(kernel, stride, dilation, depth, channels, tuple(input), measure)
    return lesson_of(topic, given)
