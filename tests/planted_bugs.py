#!/usr/bin/env python3
"""Plants bugs in a copy of the source and checks that the tests catch every one.

    tests/planted_bugs.py                 all bugs
    tests/planted_bugs.py --only NAME     one bug (may be repeated)
    tests/planted_bugs.py --list          their names, and the tests that must catch them
    tests/planted_bugs.py --check         only whether each still matches the source

The bugs are in tests/planted_bugs.toml. Each replaces one piece of text; all are built into one copy, each behind a
switch, and an environment variable turns on one at a time, so that everything is built once. A bug whose text does not
occur exactly once, or that does not build, is an error of the list, not a bug that was caught. Before any is turned on,
the tests must pass with all of them off.

The copy lies in --work (default: a fixed folder of the system's temporary directory) and is kept, so that the next run
builds little. Nothing is written to the source.

Needs Python 3.11 and cargo. Exit code: 0 all caught, 1 some not, 2 the list is wrong or the tests fail without a bug.
"""

import argparse
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
LIST = ROOT / "tests/planted_bugs.toml"
SWITCH = "INCEPT_PLANTED_BUG"
# What a crate that has bugs gets.
MODULE = f"""
/// Whether a planted bug is turned on.
#[doc(hidden)]
pub mod planted {{
    /// Whether this one is.
    pub fn is(name: &str) -> bool {{
        static CHOSEN: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
        CHOSEN.get_or_init(|| std::env::var("{SWITCH}").ok()).as_deref() == Some(name)
    }}
}}
"""
# The library that each folder's files belong to.
LIBRARIES = ["ir/src/lib.rs", "compiler/src/lib.rs", "runtime/src/lib.rs", "src/lib.rs"]
# Seconds after which a test that hangs is stopped; the bug counts as caught.
PATIENCE = 900


def stop(text):
    print(f"error: {text}", file=sys.stderr)
    sys.exit(2)


def load():
    with open(LIST, "rb") as file:
        document = tomllib.load(file)
    suites, bugs = document["suites"], document["bugs"]
    names = [bug["name"] for bug in bugs]
    for bug in bugs:
        name = bug["name"]
        if names.count(name) > 1:
            stop(f"two bugs are called {name}")
        if not re.fullmatch(r"[a-z0-9_]+", name):
            stop(f"{name} is no name of a bug: small letters, digits and _ only")
        wrong = set(bug) - {"name", "file", "in", "old", "new", "statement", "tests"}
        if wrong:
            stop(f"{name}: unknown keys {sorted(wrong)}")
        unknown = [suite for suite in bug["tests"] if suite not in suites]
        if unknown or not bug["tests"]:
            stop(f"{name}: no suites {unknown}")
        if bug["old"] == bug["new"]:
            stop(f"{name} changes nothing")
    return suites, bugs


def spans(bugs):
    """Where each bug's text lies: for each file, (start, end, bug), in order."""
    found, problems = {}, []
    for bug in bugs:
        path = ROOT / bug["file"]
        if not path.is_file():
            problems.append(f"{bug['name']}: there is no {bug['file']}")
            continue
        text, context, old = path.read_text(), bug.get("in", bug["old"]), bug["old"]
        if text.count(context) != 1:
            problems.append(f"{bug['name']}: its text occurs {text.count(context)} times in {bug['file']}, not once")
        elif context.count(old) != 1:
            problems.append(f"{bug['name']}: `old` occurs {context.count(old)} times in `in`, not once")
        else:
            start = text.index(context) + context.index(old)
            found.setdefault(bug["file"], []).append((start, start + len(old), bug))
    for file, places in found.items():
        places.sort(key=lambda place: place[:2])
        for (_, end, first), (start, _, second) in zip(places, places[1:]):
            if start < end:
                problems.append(f"{first['name']} and {second['name']} overlap in {file}")
    if problems:
        stop("the list does not match the source:\n  " + "\n  ".join(problems))
    return found


def planted(text, places):
    """A file with its bugs, each behind its switch."""
    for start, end, bug in reversed(places):
        old, new = text[start:end], bug["new"]
        choice = f'if crate::planted::is("{bug["name"]}") {{ {new} }} else {{ {old} }}'
        text = text[:start] + (choice if bug.get("statement") else f"({choice})") + text[end:]
    return text


def tree(scratch, found):
    """Makes the scratch tree the source with all bugs, touching only files that differ."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout
    wanted = {name for name in listed.decode().split("\0") if name and (ROOT / name).is_file()}
    for name in wanted:
        content = (ROOT / name).read_bytes()
        if name in found:
            content = planted(content.decode(), found[name]).encode()
        if name in LIBRARIES:
            content += MODULE.encode()
        target = scratch / name
        if target.is_file() and target.read_bytes() == content:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        shutil.copymode(ROOT / name, target)
    for path in list(scratch.rglob("*")):
        if path.is_file() and str(path.relative_to(scratch)) not in wanted:
            path.unlink()


def cargo(scratch, arguments, environment, patience=None):
    """Runs cargo; gives its exit code (None where it took too long) and all that it printed."""
    process = subprocess.Popen(
        ["cargo", *arguments],
        cwd=scratch,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=patience)
        return process.returncode, output
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        return None, output


def failures(scratch, suite, environment):
    """Runs a suite. Gives None where it passes, else what failed."""
    code, output = cargo(scratch, ["test", "--release", "-q", *suite], environment, PATIENCE)
    if code == 0:
        if not sum(int(count) for count in re.findall(r"(\d+) passed", output)):
            stop(f"`cargo test {' '.join(suite)}` ran no test")
        return None
    if code is None:
        return "it never ended"
    failed = re.findall(r"^    (\S+)$", output, re.MULTILINE)
    crashed = re.search(r"signal: \d+, [A-Z]+", output)
    if not failed and not crashed:
        print(output, file=sys.stderr)
        stop("the tests failed without naming one")
    return crashed.group(0) if not failed else ", ".join(dict.fromkeys(failed))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", metavar="NAME", help="plant this bug (may be repeated)")
    parser.add_argument("--list", action="store_true", help="print the bugs and stop")
    parser.add_argument("--check", action="store_true", help="check that each bug matches the source and stop")
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path(tempfile.gettempdir()) / "incept-planted-bugs")
    parser.add_argument("--target-dir", type=pathlib.Path, help="cargo's target directory (default: in --work)")
    arguments = parser.parse_args()
    suites, bugs = load()
    found = spans(bugs)
    if arguments.list:
        for bug in bugs:
            print(f"{bug['name']}\t{bug['file']}\t{' '.join(bug['tests'])}")
        return 0
    print(f"{len(bugs)} bugs match the source", flush=True)
    if arguments.check:
        return 0
    chosen = bugs
    if arguments.only:
        unknown = set(arguments.only) - {bug["name"] for bug in bugs}
        if unknown:
            stop(f"there is no bug {', '.join(sorted(unknown))}")
        chosen = [bug for bug in bugs if bug["name"] in arguments.only]

    scratch = arguments.work.resolve() / "tree"
    scratch.mkdir(parents=True, exist_ok=True)
    tree(scratch, found)
    environment = {name: value for name, value in os.environ.items() if name != SWITCH}
    environment.update(CARGO_INCREMENTAL="1", INSTA_UPDATE="no", RUST_BACKTRACE="0", RUSTFLAGS="-A unused_parens")
    environment["CARGO_TARGET_DIR"] = str((arguments.target_dir or arguments.work / "target").resolve())

    start = time.monotonic()
    needed = list(dict.fromkeys(suite for bug in chosen for suite in bug["tests"]))
    for name in needed:
        suite = suites[name][: suites[name].index("--")] if "--" in suites[name] else suites[name]
        code, output = cargo(scratch, ["test", "--release", "-q", "--no-run", *suite], environment)
        if code != 0:
            print(output, file=sys.stderr)
            stop(f"the suite {name} does not build")
    print(f"built in {time.monotonic() - start:.0f} s", flush=True)
    for name in needed:
        start = time.monotonic()
        failed = failures(scratch, suites[name], environment)
        if failed is not None:
            stop(f"the suite {name} fails without any bug: {failed}")
        print(f"suite {name} passes without a bug ({time.monotonic() - start:.0f} s)", flush=True)

    missed = []
    for number, bug in enumerate(chosen, 1):
        start = time.monotonic()
        caught = None
        for name in bug["tests"]:
            failed = failures(scratch, suites[name], {**environment, SWITCH: bug["name"]})
            if failed is not None:
                caught = f"caught by {name}: {failed}"
                break
        if caught is None:
            missed.append(bug["name"])
        print(f"{number:3} {bug['name']}: {caught or 'NOT CAUGHT'} ({time.monotonic() - start:.0f} s)", flush=True)
    print(f"{len(chosen) - len(missed)} of {len(chosen)} caught" + (f"; not: {', '.join(missed)}" if missed else ""))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
