"""Which threads of a process use the processors, and whether they make way for others (`/proc/<pid>/task/<tid>/stat`)."""

import os
import pathlib

TICKS = os.sysconf("SC_CLK_TCK")
SCHED_IDLE = 5


def used(pid):
    """{thread: (name, seconds)} up to now; threads of idle priority are marked."""
    found = {}
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        try:
            text = (task / "stat").read_text()
        except OSError:  # it has ended
            continue
        name, fields = text[text.index("(") + 1 : text.rindex(")")], text[text.rindex(")") + 2 :].split()
        seconds = (int(fields[11]) + int(fields[12])) / TICKS
        found[task.name] = (f"{name} (idle class)" if int(fields[38]) == SCHED_IDLE else name, seconds)
    return found


def between(before, after):
    """{name: seconds}, threads of one name together."""
    total = {}
    for thread, (name, seconds) in after.items():
        earlier = before.get(thread, (name, 0))[1]
        total[name] = total.get(name, 0) + seconds - earlier
    return total
