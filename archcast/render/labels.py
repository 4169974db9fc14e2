"""Placing of names beside dots so that no two texts overlap; a name that finds no room is left out."""

from __future__ import annotations

from dataclasses import dataclass

CHARACTER_PX = 6.3
LINE_PX = 13.0
_AWAY = ((1, 0), (-1, 0), (0, -1), (0, 1), (1, -1), (-1, -1), (1, 1), (-1, 1))
_DISTANCES = (5.0, 16.0, 30.0, 46.0, 66.0, 90.0)


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels, y downwards."""

    x0: float
    y0: float
    x1: float
    y1: float

    def meets(self, other: Box) -> bool:
        return self.x0 < other.x1 and other.x0 < self.x1 and self.y0 < other.y1 and other.y0 < self.y1

    def holds(self, other: Box) -> bool:
        return self.x0 <= other.x0 and self.y0 <= other.y0 and other.x1 <= self.x1 and other.y1 <= self.y1


@dataclass(frozen=True)
class Spot:
    """Where a name stands: its baseline, and where a leader line to a dot further off should end."""

    x: float
    y: float
    anchor: str
    far: bool
    foot_x: float
    foot_y: float


class Labels:
    """Keeps what is taken and finds the nearest free place around a dot."""

    def __init__(self, area: Box, taken: list[Box]) -> None:
        self.area, self.taken = area, list(taken)

    def block(self, box: Box) -> None:
        """Keep names away from a box."""
        self.taken.append(box)

    def place(self, name: str, x: float, y: float, radius: float) -> Spot | None:
        """Return the nearest free place for a name beside a dot at (x, y), and take it; None where there is none."""
        width = CHARACTER_PX * len(name)
        for distance in _DISTANCES:
            for right, down in _AWAY:
                reach = radius + distance
                scale = 0.75 if right and down else 1.0
                foot_x, middle = x + right * reach * scale, y + down * (reach * scale + (LINE_PX / 2 if down else 0))
                left = foot_x if right > 0 else foot_x - width if right < 0 else foot_x - width / 2
                box = Box(left - 2, middle - LINE_PX / 2, left + width + 2, middle + LINE_PX / 2)
                if not self.area.holds(box) or any(box.meets(other) for other in self.taken):
                    continue
                self.taken.append(box)
                anchor = "start" if right > 0 else "end" if right < 0 else "middle"
                foot_y = middle - down * LINE_PX / 2 if not right else middle
                return Spot(foot_x, middle + 4, anchor, distance > 12, foot_x, foot_y)
        return None
