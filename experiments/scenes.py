"""The data: scenes of scikit-learn's digits in clutter with lines of one pixel, and bits in time.

Everything is drawn from one generator, so that a seed makes the same data on every machine with the
same NumPy. Digits of the training scenes never stand in the scenes of a test.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["LINE", "SIDE", "Digits", "Drawn", "bits", "load", "one_digit", "street"]

SIDE = 25
"""Pixels a side: 8 n + 1, so that maps at output strides 2, 4 and 8 begin and end on its ends."""

LINE = 6
"""The class of a line of one pixel; 0 is background and clutter, 1 to 5 the digits 0 to 4."""


@dataclass(frozen=True, slots=True)
class Digits:
    """Images of 8x8 between 0 and 1, and the digits that they show."""

    images: np.ndarray
    labels: np.ndarray

    def some(self, chosen: np.ndarray) -> Digits:
        """Those that are chosen, by number."""
        return Digits(self.images[chosen], self.labels[chosen])

    def split(self, random: np.random.Generator, test: int) -> tuple[Digits, Digits]:
        """So many for tests, drawn; and all others, for training."""
        order = random.permutation(len(self.labels))
        return self.some(order[test:]), self.some(order[:test])


@dataclass(frozen=True, slots=True)
class Drawn:
    """Inputs `(n, 1, ...)` in float32, and what is to be said of them, as integers."""

    inputs: np.ndarray
    targets: np.ndarray


def load() -> Digits:
    """The 1,797 digits that scikit-learn ships; raises where it is not installed."""
    from sklearn.datasets import load_digits

    found = load_digits()
    return Digits(found.images.astype(np.float32) / 16, found.target.astype(np.int64))


def enlarged(image: np.ndarray, times: int) -> np.ndarray:
    """The image with so many pixels a side for one, between them linear.

    >>> enlarged(np.array([[0.0, 1.0]]), 2).tolist()
    [[0.0, 0.25, 0.75, 1.0], [0.0, 0.25, 0.75, 1.0]]
    """
    for axis in (0, 1):
        n = image.shape[axis]
        at = np.clip((np.arange(n * times) + 0.5) / times - 0.5, 0, n - 1)
        low = np.minimum(at.astype(int), max(n - 2, 0))
        high = np.minimum(low + 1, n - 1)
        shape = [1, 1]
        shape[axis] = -1
        part = (at - low).reshape(shape)
        image = np.take(image, low, axis) * (1 - part) + np.take(image, high, axis) * part
    return image


def clutter(
    scene: np.ndarray, digits: Digits, random: np.random.Generator, pieces: int, times: int
) -> None:
    """Puts pieces of 4x4 pixels cut from digits into the scene, enlarged as the digits are."""
    for _ in range(pieces):
        top, left = random.integers(0, 5, 2)
        image = digits.images[random.integers(len(digits.images))]
        piece = enlarged(image[top : top + 4, left : left + 4], times)
        y, x = random.integers(0, SIDE - len(piece) + 1, 2)
        part = scene[y : y + len(piece), x : x + len(piece)]
        np.maximum(part, piece, out=part)


def curve(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The pixels of a bent line, one wide, from one end of the scene to the other."""
    ends = random.uniform(0, SIDE - 1, 2)
    along = np.arange(SIDE)
    bend = random.uniform(-6, 6) * np.sin(np.pi * along / (SIDE - 1))
    across = ends[0] + (ends[1] - ends[0]) * along / (SIDE - 1) + bend
    fine = np.linspace(0, SIDE - 1, 4 * SIDE)
    y = np.clip(np.rint(np.interp(fine, along, across)), 0, SIDE - 1).astype(int)
    x = np.rint(fine).astype(int)
    return (y, x) if random.random() < 0.5 else (x, y)


def noisy(scene: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return (scene + random.normal(0, 0.1, scene.shape)).astype(np.float32)


def street(digits: Digits, random: np.random.Generator, count: int) -> Drawn:
    """Scenes to segment: a digit of 16x16 on three pieces of others, and a line across both.

    Targets `(n, 25, 25)`: 0, 1 + digit where its ink is above 0.3, and `LINE`.
    """
    inputs, targets = [], []
    for _ in range(count):
        scene = np.zeros((SIDE, SIDE), np.float32)
        said = np.zeros((SIDE, SIDE), np.int64)
        clutter(scene, digits, random, pieces=3, times=2)
        y, x = random.integers(0, SIDE - 16 + 1, 2)
        chosen = random.integers(len(digits.labels))
        ink = enlarged(digits.images[chosen], 2)
        scene[y : y + 16, x : x + 16] = ink
        said[y : y + 16, x : x + 16][ink > 0.3] = 1 + digits.labels[chosen]
        y, x = curve(random)
        scene[y, x] = random.uniform(0.6, 1.0)
        said[y, x] = LINE
        inputs.append(noisy(scene, random)[None])
        targets.append(said)
    return Drawn(np.stack(inputs), np.stack(targets))


def one_digit(digits: Digits, random: np.random.Generator, count: int) -> Drawn:
    """Scenes to classify: a digit of 16x16 anywhere, on four pieces of others.

    Targets `(n,)`: the digit.
    """
    inputs, targets = [], []
    for _ in range(count):
        scene = np.zeros((SIDE, SIDE), np.float32)
        clutter(scene, digits, random, pieces=4, times=2)
        chosen = random.integers(len(digits.labels))
        y, x = random.integers(0, SIDE - 16 + 1, 2)
        scene[y : y + 16, x : x + 16] = enlarged(digits.images[chosen], 2)
        inputs.append(noisy(scene, random)[None])
        targets.append(digits.labels[chosen])
    return Drawn(np.stack(inputs), np.array(targets))


def bits(random: np.random.Generator, count: int, length: int, lag: int) -> Drawn:
    """Sequences of random bits as -1 and 1; the target is the bit `lag` positions before.

    Targets `(n, length)`, -1 where there is none yet.

    >>> drawn = bits(np.random.default_rng(0), 1, 5, 2)
    >>> drawn.inputs[0, 0].tolist(), drawn.targets[0].tolist()
    ([1.0, 1.0, 1.0, -1.0, -1.0], [-1, -1, 1, 1, 1])
    """
    drawn = random.integers(0, 2, (count, length))
    said = np.full((count, length), -1)
    said[:, lag:] = drawn[:, : length - lag]
    return Drawn((2.0 * drawn - 1).astype(np.float32)[:, None], said)
