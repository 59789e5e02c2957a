"""The report: one directory with, for each part, a section (`io.md`) and its facts (`io.json`), and `report.md` made of all of them.

A part that runs again replaces its own section and no other, so that the report is whole after a run of one part. Each
section says when, of which commit and how it was made, since these need not be the same. `bars` in the facts are for
programs.
"""

import json
import os
import time

import machine

INTRODUCTION = """# Tidemark's benchmarks

Every comparison is made in one run on one machine, in interleaved rounds, and shown as median and spread (least–most) and as
ratios to the others. Ratios are what is meant to be compared; absolute figures are for orientation. All of it again:

    cargo xtask bench

"""


class Results:
    def __init__(self, directory, parts, options):
        self.directory, self.parts, self.options = directory, parts, options
        directory.mkdir(parents=True, exist_ok=True)

    def begin(self, name, where):
        """The facts of a part that starts now and measures below a directory."""
        return {
            "part": name,
            "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
            "commit": machine.commit(),
            "mode": "quick" if self.options.quick else "full",
            "rounds": self.options.rounds,
            "seconds": self.options.seconds,
            "command": "cargo xtask bench --"
            + (" --quick" if self.options.quick else "")
            + f" --only {name}"
            + self.changed_options(),
            "machine": machine.facts(where),
            "begun": time.monotonic(),
            "stolen": machine.stolen_seconds(),
        }

    def changed_options(self):
        defaults = {} if self.options.quick else self.options.defaults
        return "".join(
            f" --{name} {getattr(self.options, name)}" for name, value in defaults.items() if getattr(self.options, name) != value
        )

    def end(self, facts, title, packages, said, error):
        """Writes the part's section, and the whole report anew. `error` is None, or why the part failed."""
        facts["took"] = time.monotonic() - facts.pop("begun")
        facts["stolen"] = machine.stolen_seconds() - facts["stolen"]
        facts.update(title=title, packages=packages, bars=said.bars, error=error)
        text = list(said.text)
        if error:
            text.append("**This part failed**, and what it had said before is all there is:\n\n" + indented(error))
        (self.directory / f"{facts['part']}.md").write_text("\n\n".join(text) + "\n")
        (self.directory / f"{facts['part']}.json").write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
        self.compose()

    def compose(self):
        sections = []
        for name in self.parts:
            if (self.directory / f"{name}.json").exists():
                facts = json.loads((self.directory / f"{name}.json").read_text())
                sections.append((facts, (self.directory / f"{name}.md").read_text()))
        newest = max((facts for facts, _ in sections), key=lambda facts: facts["date"])
        text = INTRODUCTION + bars(sections) + conditions(newest, sections)
        for facts, body in sections:
            text += f"## {facts['title']}\n\n    {facts['command']}\n\n"
            if facts["machine"] != newest["machine"]:
                text += (
                    "On another machine: " + "; ".join(f"{name} {value}" for name, value in facts["machine"].items()) + ".\n\n"
                )
            text += body + "\n"
        (self.directory / "report.md").write_text(text.rstrip() + "\n")


def bars(sections):
    rows = []
    for facts, _ in sections:
        for one in facts["bars"]:
            verdict = {True: "yes", False: "**no**", None: "not measured"}[one["reached"]]
            rows.append([facts["part"], one["what"], one["wanted"], one["value"], verdict])
        if facts["error"]:
            rows.append([facts["part"], "the part ends without an error", "", "", "**failed**"])
    return "## Bars\n\n" + markdown(["part", "what", "wanted", "reached", "kept"], rows)


def conditions(newest, sections):
    """Where and how: the machine, then when and of which commit each part was made, and what the host took away in its time."""
    packages = {}
    for facts, _ in sections:
        packages.update(facts["packages"])
    rows = [[name, value] for name, value in newest["machine"].items()]
    rows.append(["others' versions", ", ".join(f"{name} {version}" for name, version in sorted(packages.items()))])
    text = "## Conditions\n\n" + markdown(["", ""], rows)
    rows = []
    for facts, _ in sections:
        cores = int(facts["machine"]["cores"])
        stolen = f"{facts['stolen']:.1f} s, {facts['stolen'] / (facts['took'] * cores):.1%}"
        how = f"{facts['mode']}, {facts['rounds']}, {facts['seconds']} s"
        rows.append([facts["part"], facts["date"], facts["commit"], how, f"{facts['took']:.0f} s", stolen])
    header = ["part", "when", "commit", "mode, rounds, one run of fio", "took", "stolen"]
    text += markdown(header, rows)
    text += "Stolen: processor time that the host gave to others while somebody here wanted to run, of all that there was.\n\n"
    if any(facts["mode"] == "quick" for facts, _ in sections):
        text += "**A quick run is one short round: it shows that all works, and proves nothing.**\n\n"
    return text


def markdown(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n\n"


def indented(text):
    return "\n".join(f"    {line}" for line in text.splitlines())


def default_directory(quick):
    """A quick run never overwrites a full one's report."""
    target = machine.ROOT / os.environ.get("CARGO_TARGET_DIR", "target")
    return target / "bench" if quick else machine.ROOT / "bench" / "results"
