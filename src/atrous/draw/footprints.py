"""Footprints as charts: which input positions one output position reads, over how many paths."""

from __future__ import annotations

import io
import os
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from atrous.draw.charts import altair_module
from atrous.draw.images import Cut, cuts, data_url, png
from atrous.draw.looks import AXIS, TITLE, VIEW
from atrous.draw.needs import drawing_needs
from atrous.errors import ReadError, UnsupportedError

if TYPE_CHECKING:
    from PIL import Image

    from atrous.analysis import Footprint

__all__ = ["footprint_chart", "opened", "user_image"]

_SIDE = 360
_MARGIN = 0.04
MOST_PIXELS = 64_000_000
_ANOTHER = "give a PNG, JPEG, WebP or another image that Pillow reads."


def footprint_chart(footprint: Footprint, image: Any = None) -> Any:
    """The footprint in positions of the input, with the box that holds 95% of paths.

    Brightness is the logarithm of the number of paths; what is not read stays dark. `image`, a
    path or a Pillow image, is stretched over the input and shows where it is read. Of three axes
    there are three cuts. Raises `ReadError` for what is no image, `UnsupportedError` for an image
    with an input that has not two axes.
    """
    alt = altair_module()
    picture = None if image is None else user_image(image, footprint)
    drawn = [_chart(alt, footprint, cut, picture) for cut in cuts(footprint)]
    if not drawn:
        raise UnsupportedError("the footprint is empty: this position reads no input.")
    size = "x".join(map(str, footprint.box.shape))
    title = alt.TitleParams(
        f"Output {_place(footprint.at)} reads {footprint.taps:,} of {size} positions",
        subtitle=[
            f"{footprint.coverage:.1%} of its field; the box holds 95% of all paths",
            _shades_said(footprint),
        ],
        **TITLE,
    )
    return alt.hconcat(*drawn, title=title)


def user_image(image: Any, footprint: Footprint) -> Image.Image:
    """The user's image as large as the input. See `opened` for what is refused."""
    if len(footprint.shape) != 2:
        raise UnsupportedError(
            f"an image lies over two axes, but the input has {len(footprint.shape)}: "
            f"{', '.join(footprint.axes) or 'none'}; leave the image out."
        )
    height, width = footprint.shape
    return opened(image).resize((width, height))


def opened(image: Any) -> Image.Image:
    """A path or a Pillow image in RGB; its size is known before its pixels are decoded.

    Raises `ReadError` for a file that is missing, no image, broken, or of more than 64 million
    pixels.
    """
    with drawing_needs("an image behind a footprint"):
        from PIL import Image, ImageOps
    try:
        with nullcontext(image) if isinstance(image, Image.Image) else Image.open(image) as found:
            if found.width * found.height > MOST_PIXELS:
                raise ReadError(
                    f"{_name(image)} has {found.width} x {found.height} pixels; more than "
                    f"{MOST_PIXELS:,} are not read. Make it smaller."
                )
            # As a camera was held, not as its rows lie in the file.
            return ImageOps.exif_transpose(found).convert("RGB")
    except FileNotFoundError:
        raise ReadError(f"{_name(image)}: there is no such file; {_ANOTHER}") from None
    except Image.DecompressionBombError:
        raise ReadError(f"{_name(image)} has too many pixels; make it smaller.") from None
    except (OSError, SyntaxError, ValueError, TypeError, AttributeError) as error:
        if isinstance(error, ReadError):
            raise
        raise ReadError(f"{_name(image)} is no image that can be read; {_ANOTHER}") from None


def jpeg(image: Image.Image) -> bytes:
    """The image as a JPEG file."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=80)
    return file.getvalue()


def _name(image: Any) -> str:
    return os.fspath(image) if isinstance(image, str | os.PathLike) else type(image).__name__


def _shades_said(footprint: Footprint) -> str:
    """What the colours say, in words."""
    read = footprint.box[footprint.box > 0]
    low, high = (f"{v:,}" if v < 1e6 else f"{float(v):.1e}" for v in (read.min(), read.max()))
    holes = "" if footprint.coverage == 1 else "; black is not read"
    paths = f"{low} to {high} paths, from dark to bright, by their logarithm"
    return (paths if low != high else f"{low} paths to each position read") + holes


def _place(at: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, at))})"


def _chart(alt: Any, footprint: Footprint, cut: Cut, picture: Any) -> Any:
    height, width = cut.counts.shape
    top, left = cut.origin
    # Positions are drawn around whole numbers: position 3 covers 2.5 to 3.5.
    if picture is None:
        pad = max(1, round(_MARGIN * max(height, width)))
        view = (top - pad, left - pad, height + 2 * pad, width + 2 * pad)
    else:
        view = (0, 0, *cut.shape)
    if cut.shape[0] == 1:
        view = (0, view[1], 1, view[3])
    longest = max(view[2], view[3])
    down = max(view[2] / longest * _SIDE, 48)
    across = max(view[3] / longest * _SIDE, 24)

    def axis(name: str, start: int, length: int, *, turned: bool) -> Any:
        domain = [start - 0.5, start + length - 0.5]
        shown = alt.Axis(**AXIS, format="d", tickMinStep=1, grid=False) if name else None
        scale = alt.Scale(domain=domain, reverse=turned, nice=False, zero=False)
        kind = alt.Y if turned else alt.X
        return kind("a:Q", title=name and f"{name}, input positions", axis=shown, scale=scale)

    def placed(box: tuple[int, int, int, int]) -> dict[str, float]:
        return {
            "a": box[0] - 0.5,
            "b": box[0] + box[2] - 0.5,
            "c": box[1] - 0.5,
            "d": box[1] + box[3] - 0.5,
        }

    y = axis(cut.axes[0], view[0], view[2], turned=True)
    x = axis(cut.axes[1], view[1], view[3], turned=False)

    def pixels(box: tuple[int, int, int, int], url: str) -> Any:
        tall, wide = box[2] / view[2] * down, box[3] / view[3] * across
        row = {"a": box[0] + box[2] / 2 - 0.5, "c": box[1] + box[3] / 2 - 0.5, "url": url}
        return (
            alt.Chart(alt.Data(values=[row]))
            .mark_image(width=wide, height=tall, aspect=False, smooth=False)
            .encode(y=y, x=_across(x), url="url:N")
        )

    where = (top, left, height, width)
    if picture is None:
        ground = [pixels(where, data_url(png(cut.counts)))]
    else:
        full = footprint.counts
        ground = [
            pixels(view, data_url(jpeg(picture), "image/jpeg")),
            pixels(view, data_url(png(full, "shade"))),
        ]
    box = (
        alt.Chart(alt.Data(values=[placed(cut.effective)]))
        .mark_rect(fillOpacity=0, stroke="#ffffff", strokeWidth=1.5, strokeDash=[5, 3])
        .encode(y=y, y2="b:Q", x=_across(x), x2="d:Q")
    )
    title = "" if cut.through is None else f"{cut.through[0]} = {cut.through[1]}"
    return alt.layer(*ground, box).properties(
        width=across,
        height=down,
        title=alt.TitleParams(title, **{**TITLE, "fontSize": 13}),
        view=alt.ViewBackground(**VIEW),
    )


def _across(x: Any) -> Any:
    copy = x.copy()
    copy.shorthand = "c:Q"
    return copy
