"""The five minutes of the README, typed as they stand there, do what it says. Covers S44 to S51, S54."""

import os
import pathlib
import re
import shutil

from service import BINARY, run

README = pathlib.Path(__file__).resolve().parents[2] / "README.md"


def typed_commands():
    """What stands behind a prompt in the section, continuation lines included."""
    section = README.read_text().split("\n## Five minutes\n")[1].split("\n## ")[0]
    commands = []
    for block in re.findall(r"```console\n(.*?)```", section, re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                commands.append(line[2:])
            elif commands and commands[-1].endswith("\\"):
                commands[-1] += "\n" + line
    return commands


def test_the_tour_of_the_readme(new_service, scratch):
    service = new_service()
    build, start, *commands = typed_commands()
    assert build.startswith("cargo build --release") and start == "tidemark up &", "these two are done here already"
    programs = scratch / "bin"
    programs.mkdir()
    shutil.copy(BINARY, programs / "tidemark")
    script = "\n".join(["set -euo pipefail", *commands])
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("TIDEMARK_", "ALIBABA_"))}
    environment["PATH"] = f"{programs}:{environment['PATH']}"
    done = run("bash", "-c", script, cwd=service.directory, env=environment)
    assert "Images are identical." in done.stdout
    assert re.search(r"^s-bp1\w+ +\| (progressing|accomplished)", done.stdout, re.MULTILINE), done.stdout
