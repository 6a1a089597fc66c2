# SPDX-License-Identifier: BSL-1.0
"""Draws ratios of medians as an SVG of horizontal bars, on a logarithmic scale: longer is better."""
import html
import math

WIDTH, LABELS, BAR, GAP = 900, 290, 13, 14
COLOURS = ['#1f6feb', '#9aa4b2', '#d29922', '#8957e5', '#2da44e', '#cf222e']


def draw(names, base, rows):
    """`rows` are (label, whether more is better, {name: median}). The length of a bar is the ratio to `base`."""
    better = [(label, {n: (v[n] / v[base] if more else v[base] / v[n]) for n in names if v.get(n)})
              for label, more, v in rows]
    most = max(max(r.values()) for _, r in better)
    least = min(min(r.values()) for _, r in better)
    low, high = math.floor(math.log2(least)), math.ceil(math.log2(most))
    x = lambda ratio: LABELS + (math.log2(ratio) - low) / max(high - low, 1) * (WIDTH - LABELS - 60)
    top = 34 + 20
    row_height = len(names) * BAR + GAP
    height = top + len(better) * row_height + 24
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
           f'font-size="12"><rect width="100%" height="100%" fill="white"/>']
    for i, name in enumerate(names):
        out.append(f'<rect x="{LABELS + i * 110}" y="10" width="12" height="12" fill="{COLOURS[i % len(COLOURS)]}"/>'
                   f'<text x="{LABELS + i * 110 + 17}" y="20">{html.escape(name)}</text>')
    for power in range(low, high + 1):
        at, mark = x(2.0 ** power), f'{2.0 ** power:g}'
        out.append(f'<line x1="{at:.1f}" y1="{top - 8}" x2="{at:.1f}" y2="{height - 20}" stroke="#d0d7de"/>'
                   f'<text x="{at:.1f}" y="{top - 12}" text-anchor="middle" fill="#57606a">{mark}</text>')
    for i, (label, ratios) in enumerate(better):
        y = top + i * row_height
        out.append(f'<text x="{LABELS - 10}" y="{y + len(names) * BAR / 2 + 4:.1f}" text-anchor="end">'
                   f'{html.escape(label)}</text>')
        for j, name in enumerate(names):
            if name not in ratios:
                continue
            zero, end = sorted((x(1), x(ratios[name])))
            out.append(f'<rect x="{zero:.1f}" y="{y + j * BAR}" width="{max(end - zero, 1):.1f}" height="{BAR - 2}" '
                       f'fill="{COLOURS[j % len(COLOURS)]}"/>'
                       f'<text x="{end + 4:.1f}" y="{y + j * BAR + 10}" font-size="10">{ratios[name]:.2f}</text>')
    out.append(f'<text x="{LABELS}" y="{height - 6}" fill="#57606a">times as good as {html.escape(base)} '
               f'(logarithmic)</text></svg>\n')
    return '\n'.join(out)
