"""What a figure depends on besides the code: the machine, the peers' versions, and what the host took away meanwhile."""

import os
import pathlib
import platform
import shutil
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent


def facts(directory):
    """The machine as (name, value) rows; the file system is that of the directory in which all is measured."""
    return {
        "kernel": platform.release(),
        "CPU": processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{int(field('/proc/meminfo', 'MemTotal').split()[0]) / (1 << 20):.1f} GiB",
        "file system": file_system(directory),
    }


def field(path, name):
    with open(path) as file:
        return next(line.split(":", 1)[1].strip() for line in file if line.split(":")[0].strip() == name)


def processor():
    try:
        return field("/proc/cpuinfo", "model name")
    except StopIteration:  # not every architecture names it
        return platform.machine()


def file_system(directory):
    """Type and options of what is mounted there."""
    best, found = "", ""
    with open("/proc/mounts") as mounts:
        for line in mounts:
            _, point, kind, options = line.split()[:4]
            inside = pathlib.Path(os.path.realpath(directory)).is_relative_to(point)
            if inside and len(point) >= len(best):
                best, found = point, f"{kind} ({options})"
    return found


def commit():
    """The tree's commit, and whether it is that commit's; the results themselves are no part of it."""

    def git(*words):
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--", ".", ":!bench/results")
        return git("rev-parse", "--short=12", "HEAD") + (" with changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown: not a clone"


def versions(needs):
    """Of the Debian packages that bring these programs, {program: package}; one that is missing is an error that names it."""
    missing = sorted({package for program, package in needs.items() if shutil.which(program) is None})
    if missing:
        raise RuntimeError(
            f"missing: {', '.join(missing)} (`cargo xtask bench` installs them, or: apt-get install {' '.join(missing)})"
        )
    return {package: version(package) for package in sorted(set(needs.values()))}


def version(package):
    asked = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package], capture_output=True, text=True, check=False)
    return asked.stdout if asked.returncode == 0 else "not from a package"


def processor_seconds(pid):
    """What a process that runs has used so far, its ended children not counted."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def stolen_seconds():
    """Of all processors together: what the host gave to others while somebody here wanted to run (proc(5), /proc/stat)."""
    with open("/proc/stat") as stat:
        return int(stat.readline().split()[8]) / os.sysconf("SC_CLK_TCK")
