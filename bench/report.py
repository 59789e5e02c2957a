"""Tables and timing."""

import statistics
import sys
import time


def table(title, header, rows, note=""):
    print(f"\n### {title}\n")
    print("| " + " | ".join(header) + " |")
    print("|" + "---|" * len(header))
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |")
    if note:
        print(f"\n{note}")
    sys.stdout.flush()


def progress(text):
    print(f"  {text}", file=sys.stderr, flush=True)


def median(values):
    return statistics.median(values)


def timed(action):
    """(seconds, result)"""
    begun = time.monotonic()
    result = action()
    return time.monotonic() - begun, result
