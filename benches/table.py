#!/usr/bin/env python3
"""Makes the README's table of benchmarks from what criterion measured.

    cargo bench
    python3 benches/table.py            # writes the table into README.md
    python3 benches/table.py --print    # prints it

Reads target/criterion/**/new/{benchmark,estimates}.json. The table has the median of each benchmark with criterion's
95 % interval, and says when, on which CPU and with which versions it was measured.
"""

import datetime
import json
import pathlib
import platform
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"
# Groups that the README shows, in this order; kernels and passes are many and stay with criterion's own report.
GROUPS = ["network", "load", "passes", "planner"]


def time(nanoseconds):
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if nanoseconds >= size:
            return f"{nanoseconds / size:.3g} {unit}"
    return f"{nanoseconds:.3g} ns"


def measured():
    rows = []
    for path in sorted((ROOT / "target" / "criterion").glob("**/new/benchmark.json")):
        about = json.loads(path.read_text())
        median = json.loads((path.parent / "estimates.json").read_text())["median"]
        interval = median["confidence_interval"]
        rows.append(
            {
                "group": about["group_id"],
                "name": about["function_id"] or about["value_str"] or about["full_id"],
                "median": median["point_estimate"],
                "low": interval["lower_bound"],
                "high": interval["upper_bound"],
                "when": path.stat().st_mtime,
            }
        )
    return rows


def cpu():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def version(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.strip()


def table(rows):
    shown = [row for group in GROUPS for row in rows if row["group"].split("/")[0] == group]
    if not shown:
        sys.exit("nothing was measured yet: run `cargo bench` first")
    metadata = json.loads(version("cargo", "metadata", "--format-version", "1", "--no-deps"))
    incept = next(package["version"] for package in metadata["packages"] if package["name"] == "incept")
    when = datetime.date.fromtimestamp(max(row["when"] for row in shown)).isoformat()
    lines = [
        f"Measured {when} on {cpu()}, one thread, incept {incept}, {version('rustc', '--version')}:",
        "",
        "| benchmark | median | 95 % interval |",
        "|---|---|---|",
    ]
    for row in shown:
        lines.append(f"| {row['group']}: {row['name']} | {time(row['median'])} | {time(row['low'])} to {time(row['high'])} |")
    return "\n".join(lines)


def main():
    text = table(measured())
    if "--print" in sys.argv[1:]:
        print(text)
        return
    readme = ROOT / "README.md"
    before, rest = readme.read_text().split(BEGIN)
    _, after = rest.split(END)
    readme.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


if __name__ == "__main__":
    main()
