# SPDX-License-Identifier: ISC
"""The results of bench/run as medians, a table and a chart."""

import shutil
import statistics
import subprocess

NOISY = 0.10  # A figure with a larger spread is marked.
LOSSY = 0.001  # A larger share of lost echoes is reported.


def spread(values):
    """The interquartile range as a share of the median."""
    if len(values) < 2:
        return 0.0
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return (high - low) / median if median else 0.0


def summary_of(measured):
    """{server: figures} of one mode. A ratio compares the costs of one round."""
    reference = measured.get("echod", [])
    figures = {}
    for name, values in measured.items():
        costs = [value["cost"] for value in values if value]
        if not costs:
            continue
        ratios = [value["cost"] / base["cost"] for value, base in zip(values, reference) if value and base]
        # Echod's own ratio is always 1, so its spread is that of its cost.
        varied = spread(costs if name == "echod" else ratios)
        figures[name] = {"cost": statistics.median(costs), "ratio": statistics.median(ratios) if ratios else None,
                         "spread": varied, "rounds": len(costs), "lost": sum(value["lost"] for value in values if value),
                         "echoes": sum(value["echoes"] for value in values if value),
                         "mb_per_s": statistics.median(value["mb_per_s"] for value in values if value)}
    return figures


def remarks(summaries):
    """Notes on figures with a large spread, and on servers that lost echoes."""
    every = [(f"{mode}, {name}", figure) for mode, figures in summaries.items() for name, figure in figures.items()]
    noisy = [f"{what} {figure['spread'] * 100:.0f} %" for what, figure in every if figure["spread"] > NOISY]
    lossy = [f"{what} {figure['lost']}" for what, figure in every if figure["lost"] > LOSSY * figure["echoes"]]
    return [f"{what}: {'; '.join(found)}" for what, found in (("noisy", noisy), ("echoes lost", lossy)) if found]


def heading(circumstances):
    return "\n".join(f"{name.capitalize()}: {value}" for name, value in circumstances.items())


def cell_of(mode, name, figure):
    if not figure or figure["ratio"] is None:
        return "-"
    value = f"{figure['cost']:.2f} {mode.unit}" if name == "echod" else f"{figure['ratio']:.2f}"
    return f"{value} ({figure['spread'] * 100:.0f}%)" + ("!" if figure["spread"] > NOISY else " ")


def throughput_of(name, figures):
    """The throughput: of echod in MB/s, of other servers as a ratio to that."""
    ours = figures.get("echod", {}).get("mb_per_s")
    if not ours or name not in figures:
        return "-"
    return f"{ours:.0f} MB/s" if name == "echod" else f"{figures[name]['mb_per_s'] / ours:.2f}"


def columns(modes, names, summaries):
    """The table of these columns only, so that it fits a page."""
    rows = [("", names)]
    for mode in modes:
        rows.append((mode.title, [cell_of(mode, name, summaries[mode.name].get(name)) for name in names]))
        if mode.per_kib:
            rows.append(("  its throughput: more is better", [throughput_of(name, summaries[mode.name]) for name in names]))
    widths = [max(len(cells[i]) for _, cells in rows) + 2 for i in range(len(names))]
    left = max(len(title) for title, _ in rows)
    return [title.ljust(left) + "".join(cell.rjust(width) for cell, width in zip(cells, widths)) for title, cells in rows]


def table(modes, names, summaries):
    legend = ("CPU time of the server for an echo: of echod itself, of the others as a ratio to echod; median, (spread), ! if over "
              f"{NOISY * 100:.0f} %")
    blocks = [names[:5], names[5:]]
    return "\n".join([legend, *(line.rstrip() for block in blocks if block for line in ["", *columns(modes, block, summaries)])])


def bounds_table(rows, found):
    """Each figure with its bound, marked ! if the bound is not kept."""
    width = max(len(row.title) for row in rows.values())
    lines = [f"{'':{width}}{'median':>16}{'(spread)':>10}{'bound':>14}", ""]
    for key, row in rows.items():
        if key not in found:
            continue
        median = statistics.median(found[key])
        kept = (row.most is None or median <= row.most) and (row.least is None or median >= row.least)
        bound = f"<= {row.most:g}" if row.most is not None else f">= {row.least:g}" if row.least is not None else "-"
        value = f"{median:.2f} {row.unit}".rstrip()
        lines.append(f"{row.title:{width}}{value:>16}{f'({spread(found[key]) * 100:.0f}%)':>10}{bound:>14}{'' if kept else ' !'}")
    return "\n".join(lines)


def draw(path, modes, names, summaries):
    """Draws the ratios as bars, SVG or PNG by the file's name. Returns None, or why it could not."""
    if not shutil.which("gnuplot"):
        return f"{path} was not drawn: needs gnuplot"
    rows = ["mode " + " ".join(f'"{name}"' for name in names)]
    for mode in modes:
        figures = summaries[mode.name]
        cells = [f"{figures[name]['ratio']:.4f}" if name in figures and figures[name]["ratio"] else "?" for name in names]
        rows.append(f'"{mode.name}" ' + " ".join(cells))
    terminal = "pngcairo" if path.suffix == ".png" else "svg"
    quoted = str(path).replace("'", "''")
    script = f"""\
set terminal {terminal} size 1200,500
set output '{quoted}'
set title 'CPU time of the server for an echo, as a ratio to echod (less is better)'
set style data histogram
set style histogram clustered gap 1
set style fill solid 0.8
set logscale y 2
set yrange [0.5:]
set grid y
set key outside right
set datafile missing '?'
$data << END
{chr(10).join(rows)}
END
plot for [i=2:{len(names) + 1}] $data using i:xtic(1) title columnheader(i)
"""
    done = subprocess.run(["gnuplot"], input=script, text=True, capture_output=True)
    if done.returncode == 0:
        return None
    return f"{path} was not drawn: gnuplot: {done.stderr.strip()}"
