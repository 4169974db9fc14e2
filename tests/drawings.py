"""What tests of drawings share."""

from __future__ import annotations

from xml.etree.ElementTree import Element


def overlapping(picture: Element) -> list[tuple[str, str]]:
    """Return the pairs of upright words of a drawing that lie on each other; a letter is taken as 6 pixels wide."""
    boxes = []
    for text in picture.iter("text"):
        if "rotate" in text.get("transform", ""):
            continue
        x, y, words = float(text.get("x", "0")), float(text.get("y", "0")), text.text or ""
        width = 6.0 * len(words)
        left = {"middle": x - width / 2, "end": x - width}.get(text.get("text-anchor", ""), x)
        boxes.append((left, y - 9, left + width, y + 2, words))
    return [
        (a[4], b[4])
        for i, a in enumerate(boxes)
        for b in boxes[i + 1 :]
        if not (a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1])
    ]
