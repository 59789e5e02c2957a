"""What the parts say: tables, bars and figures, printed as Markdown at once and kept for the report (`results.py`)."""

import contextlib
import statistics
import sys
import time

import matplotlib
from matplotlib.figure import Figure

# The same bytes for the same figures, whoever draws them, and readable on a dark page.
STYLE = {
    "svg.hashsalt": "tidemark",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # matplotlib brings it
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
}


class Part:
    """What one part of the run has said so far."""

    def __init__(self, directory):
        self.directory, self.text, self.bars = directory, [], []


_part = Part(None)


def begin(directory):
    """From here on all is said by a new part, whose figures go into the directory."""
    global _part
    _part = Part(directory)
    return _part


def say(text):
    """A paragraph of Markdown."""
    _part.text.append(text)
    print(f"\n{text}", flush=True)


def table(title, header, rows, note=""):
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    say(f"### {title}\n\n" + "\n".join(lines))
    if note:
        say(note)


def bar(what, wanted, reached_value_text, reached):
    """A row of the table at the top of the report: what was promised, and whether it was kept (None: not measured in this run)."""
    _part.bars.append(
        {"what": what, "wanted": wanted, "value": reached_value_text, "reached": None if reached is None else bool(reached)}
    )


@contextlib.contextmanager
def figure(name, title, caption, width=8, height=4):
    """Axes to draw on; afterwards `<name>.svg` lies among the results and the text shows it."""
    with matplotlib.rc_context(STYLE):
        drawing = Figure(figsize=(width, height), layout="constrained")
        axes = drawing.subplots()
        yield axes
        axes.set_title(title)
        drawing.savefig(_part.directory / f"{name}.svg", format="svg", metadata={"Date": None})
    say(f"![{title}]({name}.svg)\n\n{caption}")


def progress(text):
    print(f"  {text}", file=sys.stderr, flush=True)


def median(values):
    return statistics.median(values)


def spread(values, form=",.0f"):
    """`median (min–max)`, each in a format as of `format`; only the one value where there is only one."""
    values = list(values)
    if len(values) == 1:
        return format(values[0], form)
    return f"{format(median(values), form)} ({format(min(values), form)}–{format(max(values), form)})"


def timed(action):
    """(seconds, result)"""
    begun = time.monotonic()
    result = action()
    return time.monotonic() - begun, result
