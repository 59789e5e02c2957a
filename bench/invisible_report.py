"""The tables and figures of `invisible.py`."""

import numpy

from background import Marks
from guest_load import SLOW
from report import bar, figure, median, spread, table

COLOURS = ["#7a7a7a", "#d1495b", "#edae49", "#66a182", "#2e4057", "#8d6cab", "#00798c"]
LINES = {
    "p50": (lambda slot: numpy.percentile(slot, 50), {"color": "#2e4057", "lw": 1.2}),
    "p99": (lambda slot: numpy.percentile(slot, 99), {"color": "#d1495b", "lw": 1.0}),
    "slowest": (max, {"color": "#7a7a7a", "lw": 0, "marker": ".", "ms": 3}),
}
PERCENTILES = (50, 99, 99.9)
KEPT = 0.98  # of the requests a second
MARK_ADDS_MS = 1.0


def show(scenes, sizes):
    kinds = list(dict.fromkeys(work.kind for scene in scenes for _, work in scene.pairs))
    for load in sizes.loads:
        of_load = {kind: pairs_of(scenes, load, kind) for kind in kinds}
        load_table(load, {kind: pairs for kind, pairs in of_load.items() if pairs})
    marks_table(scenes, sizes)
    processors_table(scenes, SLOW, kinds)
    timeline(scenes, kinds)
    distribution(scenes, kinds)


def pairs_of(scenes, load, kind):
    """(the scene's requests, the pause, the work) of each time that there was such work beside the load."""
    of_load = [(scene.requests, *pair) for scene in scenes if scene.load == load for pair in scene.pairs]
    return [found for found in of_load if found[2].kind == kind]


def rate(requests, window):
    return len(requests.between(window.begin, window.end).over) / (window.end - window.begin)


def waits(pairs, which):
    """µs of all requests in the pauses (1) or during the work (2), of all rounds together."""
    return numpy.concatenate([pair[0].between(pair[which].begin, pair[which].end).waits() for pair in pairs])


def load_table(load, found):
    rows, ratios = [], {}
    for kind, pairs in found.items():
        ratios[kind] = [rate(requests, work) / rate(requests, pause) for requests, pause, work in pairs]
        alone, beside = (numpy.percentile(waits(pairs, which), PERCENTILES) for which in (1, 2))
        rows.append(
            [kind, f"{median([work.end - work.begin for _, _, work in pairs]):.1f} s"]
            + [f"{median([rate(pair[0], pair[which]) for pair in pairs]):,.0f}" for which in (1, 2)]
            + [spread(ratios[kind], ".3f"), *(f"{a:,.0f} / {b:,.0f}" for a, b in zip(alone, beside))]
        )
    header = ["work", "measured for", "alone /s", "beside it /s", "ratio", "p50 µs", "p99 µs", "p99.9 µs"]
    table(f"Guest: {load.title}", header, rows, "Latencies: in the pauses / beside the work, all rounds together.")
    worst = min(ratios, key=lambda kind: median(ratios[kind]))
    value = median(ratios[worst])
    what = f"guest's I/O beside the service's own work, against none: {load.title}"
    bar(what, f"at least {KEPT}", f"{value:.3f} ({worst})", value >= KEPT)


def marks_table(scenes, sizes):
    """What CreateSnapshot itself does to requests that are under way."""
    rows, added = [], {}
    for load in sizes.loads:
        pairs = pairs_of(scenes, load, "marks")
        alone, beside = (numpy.percentile(waits(pairs, which), 99.9) / 1000 for which in (1, 2))
        calls = [(requests, pause, begin, end) for requests, pause, work in pairs for begin, end in work.calls]
        hit = [requests.slowest_touching(begin, end) / 1000 for requests, _, begin, end in calls]
        missed = [slowest_of_a_pause(nth, *call) for nth, call in enumerate(calls)]
        took = [(end - begin) * 1000 for _, _, begin, end in calls]
        added[load] = beside - alone
        rows.append([load.title, len(calls), spread(took, ".1f"), f"{alone:.2f} / {beside:.2f}", f"{added[load]:+.2f}"])
        rows[-1] += [spread(missed, ".2f"), spread(hit, ".2f")]
    header = ["guest", "marks", "CreateSnapshot, ms", "p99.9 ms without / with", "added ms"]
    header += ["slowest request in as long a time without, ms", "during the call, ms"]
    note = f"A mark every {1000 * Marks.EVERY:.0f} ms, of a disk of which a MiB changes. The last two columns are of all marks."
    table("What a mark adds", header, rows, note)
    for load in sizes.loads:
        kept = added[load] < MARK_ADDS_MS
        bar(f"a mark adds to p99.9: {load.title}", f"under {MARK_ADDS_MS:.0f} ms", f"{added[load]:+.2f} ms", kept)


def slowest_of_a_pause(nth, requests, pause, call_begin, call_end):
    """ms of the slowest request in a stretch of the pause that is as long as the call; another one for each call."""
    length = call_end - call_begin
    places = max(1, int((pause.end - pause.begin) / length) - 1)
    begin = pause.begin + (nth * 7 % places) * length
    return requests.slowest_touching(begin, begin + length) / 1000


def processors_table(scenes, load, kinds):
    """Which threads work, in processors (1.00 is one core all the time)."""
    rows = []
    for kind in kinds:
        works = [work for _, _, work in pairs_of(scenes, load, kind)]
        if not works:
            continue
        seconds = sum(work.end - work.begin for work in works)
        total = {}
        for work in works:
            for name, used in work.threads.items():
                total[name] = total.get(name, 0) + used
        busy = sorted(((used / seconds, name) for name, used in total.items() if used / seconds >= 0.01), reverse=True)
        rows.append([kind, f"{sum(share for share, _ in busy):.2f}", ", ".join(f"{name} {share:.2f}" for share, name in busy)])
    note = "1.00 is one core. Threads of idle class run only where nobody else wants to."
    table(f"Processors that the service takes, guest: {load.title}", ["work", "all", "threads"], rows, note)


def timeline(scenes, kinds):
    """The scenes of one load and round, one after the other."""
    chosen = {tuple(work.kind for _, work in scene.pairs): scene for scene in reversed(scenes) if scene.load == SLOW}
    chosen = list(reversed(chosen.values()))
    caption = (
        "Every tenth of a second: the middle request, the slowest one in a hundred, the slowest. Shaded: while the work went on; "
        "between the shades nothing was done. Where the line is broken, one run ends and another begins."
    )
    title = f"A guest's latency, {SLOW.rate:,} requests a second"
    with figure("invisible-timeline", title, caption, width=12, height=5) as axes:
        at, named = 0.0, set()
        for scene in chosen:
            first, last = scene.pairs[0][0].begin, scene.pairs[-1][1].end
            for _, work in scene.pairs:
                colour, label = COLOURS[kinds.index(work.kind) % len(COLOURS)], None if work.kind in named else work.kind
                axes.axvspan(work.begin - first + at, work.end - first + at, color=colour, alpha=0.3, lw=0, label=label)
                named.add(work.kind)
            edges = numpy.arange(first, last - 0.1, 0.1)
            slots = [scene.requests.between(edge, edge + 0.1).took / 1000 for edge in edges]
            for look, style in LINES.values():
                axes.plot(edges - first + at, [look(slot) if len(slot) else numpy.nan for slot in slots], **style)
            at += last - first + 0.5
        for label, (_, style) in LINES.items():
            axes.plot([], [], label=label, **style)
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.set_xlabel("seconds")
        axes.set_ylabel("latency, ms")
        axes.margins(x=0)
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8, frameon=False)


def distribution(scenes, kinds):
    caption = "All rounds together. Requests that were due while another made them wait count as having waited."
    title = f"A guest's latency by percentile, {SLOW.rate:,} requests a second"
    with figure("invisible-percentiles", title, caption, width=9, height=5) as axes:
        every = [pair for kind in kinds for pair in pairs_of(scenes, SLOW, kind)]
        curve(axes, waits(every, 1), "none, the pauses", color="black", lw=2)
        for number, kind in enumerate(kinds):
            pairs = pairs_of(scenes, SLOW, kind)
            if pairs:
                curve(axes, waits(pairs, 2), kind, color=COLOURS[number % len(COLOURS)])
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.invert_xaxis()
        ticks = {0.5: "50", 0.1: "90", 0.01: "99", 0.001: "99.9", 0.0001: "99.99"}
        axes.set_xticks(list(ticks), [f"{name} %" for name in ticks.values()])
        axes.minorticks_off()
        axes.set_xlabel("share of the requests")
        axes.set_ylabel("took at most, ms")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, frameon=False)


def curve(axes, took, label, **style):
    took = numpy.sort(took) / 1000
    above = 1 - numpy.arange(len(took)) / len(took)
    shown = above >= 3 / len(took)  # three requests and more
    axes.plot(above[shown], took[shown], drawstyle="steps-post", label=label, **style)
