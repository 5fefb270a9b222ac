"""Drawings of a series: as text for the terminal, as SVG for a file."""

from __future__ import annotations

from collections.abc import Mapping

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 640, 320, 60, 40, 40


def bars(title: str, values: Mapping[str, float]) -> str:
    """One bar a line, from zero."""
    top = max(values.values())
    left = max(map(len, values))
    lines = [f"  {name:>{left}} {'█' * round(50 * value / top)} {value:.1f}" for name, value in values.items()]
    return "\n".join([title, *lines])


def svg(title: str, points: Mapping[int, float], *, x: str, y: str) -> str:
    """A line through the points; both axes from zero."""
    right, top = max(points), 1.25 * max(points.values())

    def place(at: float, value: float) -> tuple[float, float]:
        across = _LEFT + (_WIDTH - _LEFT - 20) * at / right
        return across, _HEIGHT - _BOTTOM - (_HEIGHT - _BOTTOM - _TOP) * value / top

    path = " ".join(f"{a:.1f},{b:.1f}" for a, b in (place(at, value) for at, value in points.items()))
    dots, labels = [], []
    for at, value in points.items():
        a, b = place(at, value)
        dots.append(f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="#06c"/>')
        dots.append(f'<text x="{a:.1f}" y="{b - 8:.1f}" text-anchor="middle">{value:.0f}</text>')
        labels.append(f'<text x="{a:.1f}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{at}</text>')
    (a, b), (_, c) = place(0, 0), place(0, top)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" '
            'font-family="sans-serif" font-size="11">',
            '<rect width="100%" height="100%" fill="white"/>',
            f'<text x="{_WIDTH / 2}" y="20" text-anchor="middle" font-size="14">{title}</text>',
            f'<path d="M{a:.1f},{c:.1f} V{b:.1f} H{_WIDTH - 20}" fill="none" stroke="black"/>',
            f'<polyline points="{path}" fill="none" stroke="#06c" stroke-width="2"/>',
            *dots,
            *labels,
            f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 6}" text-anchor="middle">{x}</text>',
            f'<text x="14" y="{_TOP}">{y}</text>',
            "</svg>",
        ]
    )
