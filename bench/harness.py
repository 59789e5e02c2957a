"""Harnesses in Rust that a part of the benchmarks drives: `benches` of our crates."""

import json
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent


def build(name, package="tidemark-vault"):
    """The executable of a bench."""
    command = ["cargo", "bench", "--locked", "--quiet", "--package", package, "--bench", name, "--no-run"]
    built = subprocess.run([*command, "--message-format=json"], cwd=ROOT, check=True, capture_output=True, text=True)
    found = [json.loads(line).get("executable") for line in built.stdout.splitlines() if line.startswith("{")]
    (executable,) = [path for path in found if path]
    return executable


def run(executable, *words, cwd):
    """What it prints: an object per line."""
    done = subprocess.run([executable, *map(str, words)], cwd=cwd, capture_output=True, text=True, timeout=7200)
    if done.returncode != 0:
        raise RuntimeError(f"{pathlib.Path(executable).name} {' '.join(map(str, words))}: {done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines()]
