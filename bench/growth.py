"""What grows with the size of a disk, with its snapshots, with the number of disks.

One thing grows, everything else stays: the data on the disk (a MiB here and a MiB there, all over it), what changes before
each snapshot, the machine. Whatever follows the disk's size, the length of its history, or the number of idle disks is work
for nothing, unless a structure needs it: memory does by 16 MiB per TiB at most, and each attached disk has a log of its own. Disks of all sizes
take turns, each behind a service of its own; a chain and a herd grow in one service, so theirs are rounds one after the
other. Memory is what the process has for itself and its part of what it shares (PSS), after a restart and all that was
measured; beside it is the most that it had meanwhile. Idle is an attached disk to which nobody is connected.
"""

import contextlib
import os
import time

import disk_figures
import footprint
from calls import Caller
from cloud import Cloud
from disk_figures import Disk
from report import bar, figure, median, progress, spread, table
from service import Service

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
FLAT = 2.0  # times what it is with little; what is noise and what is not
IDLE_BAR = 1.0  # per cent of a core
MANUAL_SNAPSHOTS = 2000
CHAIN_GIB, HERD_GIB = 100, 100


def run(options, directory):
    rounds, places, idle = (1, 32, 1) if options.quick else (9, 256, 10)
    sizes, chain, herd = (
        ([1, 16384], [1, 10, 20], [1, 4]) if options.quick else ([1, 10, 100, 1024, 16384], [1, 10, 100, 1000], [1, 8, 64])
    )
    by_size(directory / "size", sizes, places, rounds, idle)
    by_snapshots(directory / "chain", chain, places, rounds)
    by_volumes(directory / "herd", herd, rounds, idle)


@contextlib.contextmanager
def service_in(directory, *extra):
    service = Service(directory=directory, extra=extra)
    try:
        yield service.start()
    finally:
        service.destroy()


def by_size(directory, sizes, places, rounds, idle):
    times = {gib: [] for gib in sizes}
    directory.mkdir()
    with contextlib.ExitStack() as stack:
        disks = {}
        for gib in sizes:
            home = directory / str(gib)
            home.mkdir()
            service = stack.enter_context(service_in(home))
            cloud = Cloud(service)
            instance, name = cloud.attached_disk(gib)
            disks[gib] = Disk(service, instance, name, gib * GIB, places)
            disks[gib].write(disks[gib].places, 1000)
            cloud.take_snapshot(name)
        for turn in range(rounds):
            for gib, disk in disks.items():
                times[gib].append(disk.measure(turn))
                progress(
                    f"growth: round {turn + 1}: {size_of(gib)}: "
                    + ", ".join(f"{took * 1000:.0f} ms" for took in times[gib][-1].values())
                )
        time.sleep(idle)
        pids = [disk.service.process.pid for disk in disks.values()]
        memory = dict(zip(sizes, map(footprint.memory, pids)))
        cpu = dict(zip(sizes, footprint.idle(pids, idle)))
    note = f"The same {places} MiB of data on each, all over it; {rounds} rounds."
    show("By the size of a disk", "disk", {size_of(gib): found for gib, found in times.items()}, note)
    rows = [
        [
            size_of(gib),
            f"{memory[gib] / MIB:.0f} MiB",
            f"{disks[gib].peak / MIB:.0f} MiB",
            f"{memory_bar(gib, 1):.0f} MiB",
            f"{cpu[gib]:.2f} %",
        ]
        for gib in sizes
    ]
    header = ["disk", "memory, idle", "most while measured", "bar: 64 MiB and 16 MiB per TiB", "of a core, idle"]
    table(
        "The process, one disk attached",
        header,
        rows,
        "What is read of snapshots is kept in 48 MiB at most, which the bar leaves out.",
    )
    draw("growth-size", "By the size of a sparse disk", "size of the disk in GiB", times)
    largest = sizes[-1]
    what = f"memory of the service, one disk of {size_of(largest)} attached"
    bar(
        what,
        f"at most {memory_bar(largest, 1):.0f} MiB",
        f"{memory[largest] / MIB:.0f} MiB",
        memory[largest] / MIB <= memory_bar(largest, 1),
    )
    flat(f"a disk of {size_of(largest)} beside one of {size_of(sizes[0])}", times[sizes[0]], times[largest], disk_figures.ALL)


def by_snapshots(directory, counts, places, rounds):
    directory.mkdir()
    config = directory / "tidemark.toml"
    config.write_text(f"[limits]\nmanual-snapshots-per-disk = {MANUAL_SNAPSHOTS}\n")
    times, peaks, taken, tiny = {}, {}, 0, []
    with service_in(directory, "--config", str(config)) as service:
        instance, name = Cloud(service).attached_disk(CHAIN_GIB)
        disk = Disk(service, instance, name, CHAIN_GIB * GIB, places)
        disk.write(disk.places, 1000)
        for count in counts:
            caller = Caller(service)
            while taken < count:
                disk.write([disk.places[taken % places]], 2000 + taken, 64 * KIB)
                tiny.append(caller.take(name)[2])
                taken += 1
            disk.peak = 0
            times[count] = [disk.measure(turn) for turn in range(rounds)]
            peaks[count] = disk.peak
            progress(f"growth: {count} snapshots: " + ", ".join(f"{took * 1000:.0f} ms" for took in times[count][-1].values()))
    most = ", ".join(f"{peak / MIB:.0f} MiB with {count:,}" for count, peak in peaks.items())
    note = (
        f"One disk of {CHAIN_GIB} GiB with {places} MiB of data; 64 KiB change before each of its snapshots; {rounds} rounds. The most memory "
        f"that the process had while this was measured: {most}."
    )
    show("By the number of snapshots of a disk", "snapshots", {f"{count:,}": found for count, found in times.items()}, note)
    draw("growth-snapshots", "By the number of snapshots of one disk", "snapshots of the disk", times)
    caption = "From CreateSnapshot until accomplished, 64 KiB changed: each of the snapshots of the disk in their order, smoothed over 20."
    with figure("growth-chain", "One small snapshot after the other", caption) as axes:
        smooth = [median(tiny[max(0, at - 20) : at + 1]) * 1000 for at in range(len(tiny))]
        axes.plot(range(1, len(smooth) + 1), smooth)
        axes.set_xlabel("snapshots of the disk")
        axes.set_ylabel("milliseconds")
        axes.set_ylim(bottom=0)
    wanted = [disk_figures.CALL, disk_figures.INCREMENT, disk_figures.LIST, disk_figures.DELETE]
    # A page of the list is full from the second on.
    flat(
        f"{counts[-1]:,} snapshots of a disk beside {counts[1]}: create, list, delete",
        times[counts[1]],
        times[counts[-1]],
        wanted,
    )


def by_volumes(directory, counts, rounds, idle):
    directory.mkdir()
    rows, names, found = [], [], {}
    with service_in(directory) as service:
        cloud, instance = Cloud(service), None
        for count in counts:
            while len(names) < count:
                # An instance takes only so many disks.
                if len(names) % 8 == 0:
                    instance = cloud.new_instance()
                name = cloud.attached_disk(HERD_GIB, instance)[1]
                Disk(service, instance, name, HERD_GIB * GIB, 4).write([0], len(names))
                names.append(name)
            restarts = [disk_figures.restart(service, names) for _ in range(rounds)]
            caller = Caller(service)
            calls = [caller.take(names[0])[1] for _ in range(5)]
            time.sleep(idle)
            pid = service.process.pid
            memory, threads, local = (
                footprint.memory(pid),
                len(os.listdir(f"/proc/{pid}/task")),
                footprint.allocated(service.data),
            )
            (cpu,) = footprint.idle([pid], idle)
            found[count] = {"memory": memory, "cpu": cpu}
            rows.append(
                [
                    f"{count}",
                    f"{memory / MIB:.0f} MiB",
                    f"{memory_bar(HERD_GIB, count):.0f} MiB",
                    f"{cpu:.2f} %",
                    f"{threads}",
                    f"{local / MIB:,.0f} MiB",
                    f"{spread([took * 1000 for took in calls], '.0f')} ms",
                    f"{spread([took * 1000 for took in restarts], '.0f')} ms",
                ]
            )
            progress(f"growth: {count} volumes: {rows[-1]}")
    first, last = counts[0], counts[-1]
    each = (found[last]["memory"] - found[first]["memory"]) / (last - first)
    header = [
        "disks attached",
        "memory",
        "bar",
        "of a core, idle",
        "threads",
        "local disk",
        "CreateSnapshot answers",
        "all back after kill -9",
    ]
    note = f"Disks of {HERD_GIB} GiB with 1 MiB of data each, in one process; nobody is connected. {each / MIB:.2f} MiB of memory for each further disk. Each instance has a system disk besides."
    table("By the number of attached disks", header, rows, note)
    with figure(
        "growth-volumes", "Memory by the number of attached disks", f"PSS of the one process; disks of {HERD_GIB} GiB."
    ) as axes:
        axes.plot(counts, [found[count]["memory"] / MIB for count in counts], marker="o", label="the process")
        axes.plot(
            counts, [memory_bar(HERD_GIB, count) for count in counts], linestyle="--", label="bar: 64 MiB and 16 MiB per TiB"
        )
        axes.set_xlabel("disks attached")
        axes.set_ylabel("MiB")
        axes.set_ylim(bottom=0)
        axes.legend()
    memory = found[last]["memory"] / MIB
    bar(
        f"memory of the service, {last} disks of {HERD_GIB} GiB attached",
        f"at most {memory_bar(HERD_GIB, last):.0f} MiB",
        f"{memory:.0f} MiB",
        memory <= memory_bar(HERD_GIB, last),
    )
    cpu = found[last]["cpu"]
    bar(
        f"processor time of an idle service with {last} disks attached",
        f"under {IDLE_BAR:.0f} % of a core",
        f"{cpu:.2f} %",
        cpu < IDLE_BAR,
    )


def size_of(gib):
    return f"{gib} GiB" if gib < 1024 else f"{gib // 1024} TiB"


def memory_bar(gib, count):
    """MiB."""
    return 64 + 16 * count * gib / 1024


def show(title, what, times, note):
    """A row for each of what grows, and how much the last is of the first."""
    rows = [
        [name, *(f"{spread([one[figure] * 1000 for one in found], '.0f')} ms" for figure in disk_figures.ALL)]
        for name, found in times.items()
    ]
    first, *_, last = times.values()
    rows.append(["last / first", *(f"{ratio(first, last, name):.2f}" for name in disk_figures.ALL)])
    table(title, [what, *disk_figures.ALL], rows, note)


def ratio(few, many, name):
    return median([one[name] for one in many]) / median([one[name] for one in few])


def flat(what, few, many, names):
    """A bar: none of these takes much longer where there is much."""
    worst = max(names, key=lambda name: ratio(few, many, name))
    bar(what, f"at most {FLAT:.0f} times as long", f"{ratio(few, many, worst):.2f} ({worst})", ratio(few, many, worst) <= FLAT)


def draw(name, title, label, times):
    with figure(
        name,
        title,
        "Medians; both axes are logarithmic: what does not grow is level, what grows with it rises by a decade for a decade.",
    ) as axes:
        for what in disk_figures.ALL:
            axes.plot(
                list(times), [median([one[what] for one in found]) * 1000 for found in times.values()], marker="o", label=what
            )
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xticks(list(times), [f"{value:,}" for value in times])
        axes.minorticks_off()
        axes.set_xlabel(label)
        axes.set_ylabel("milliseconds")
        axes.legend(bbox_to_anchor=(1.01, 1), loc="upper left")
