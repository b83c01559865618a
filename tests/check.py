#!/usr/bin/python3
"""Runs groups of tests that are built already and counts them: unit, bpf, fuzz, system, kernels.

    tests/check.py GROUP... [pytest's -k expression, with system alone]

Unit and BPF tests speak TAP (cmocka), fuzzers say by their exit status whether a finding came, pytest writes JUnit.
A program that ends without a plan, or with a status that its lines do not explain, is one failure of its own. Last line:
"N passed, N failed, N skipped". Output of what failed is printed whole; skips are printed with their reason.
"""
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TIMEOUT = 600


class Tally:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def fail(self, what, output=""):
        self.failed += 1
        print(f"FAILED {what}")
        if output:
            print(output[-8000:])

    def skip(self, what, why):
        self.skipped += 1
        print(f"skipped {what}: {why or 'no reason given'}")


def programs(folder):
    full = os.path.join(ROOT, folder)
    if not os.path.isdir(full):
        return []
    names = [n for n in sorted(os.listdir(full)) if os.access(os.path.join(full, n), os.X_OK) and "." not in n]
    return [os.path.join(folder, n) for n in names]


def run(argv, **extra):
    env = dict(os.environ, CMOCKA_MESSAGE_OUTPUT="TAP", ASAN_OPTIONS="detect_leaks=1:abort_on_error=0", **extra)
    try:
        p = subprocess.run(argv, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, timeout=TIMEOUT)
        return p.returncode, p.stdout.decode(errors="replace")
    except subprocess.TimeoutExpired as e:
        return -1, (e.stdout or b"").decode(errors="replace") + f"\nstopped after {TIMEOUT} s"


def tap(tally, program):
    status, out = run([program])
    planned = sum(int(n) for n in re.findall(r"^1\.\.(\d+)", out, re.M))
    seen = failed = 0
    why = ""
    for line in out.splitlines():
        if line.startswith("# SKIP because: "):
            why = line.removeprefix("# SKIP because: ")
        m = re.match(r"(not )?ok (\d+) (-|# SKIP) (\S.*)$", line)
        if not m:
            continue
        seen += 1
        if m[3] != "-":  # cmocka says "not ok N # SKIP name"
            tally.skip(f"{program}: {m[4]}", why)
            why = ""
        elif m[1]:
            failed += 1
            tally.fail(f"{program}: {m[4]}")
        else:
            tally.passed += 1
    if failed:
        print(out[-8000:])
    if seen == 0 or seen != planned or (status != 0 and not failed):
        tally.fail(f"{program} (status {status}, {seen} of {planned} tests reported)", out)


def unit(tally, _):
    for mode in ("asan", "release"):
        for program in programs(f"build/{mode}/tests/unit"):
            tap(tally, program)


def bpf(tally, _):
    for program in programs("build/release/tests/bpf"):
        tap(tally, program)


def fuzz(tally, _):
    # As part of `check` the same inputs each time; `make fuzz SECONDS_EACH=600` looks for new ones.
    seconds = os.environ.get("SECONDS_EACH")
    length = [f"-max_total_time={seconds}"] if seconds else ["-seed=1", "-runs=150000", "-max_total_time=10"]
    for program in programs("build/fuzz/tests/fuzz"):
        name = os.path.basename(program).removeprefix("fuzz_")
        corpus, found = os.path.join("tests/fuzz/corpus", name), os.path.join("build/fuzz/found", name)
        os.makedirs(os.path.join(ROOT, found), exist_ok=True)
        os.makedirs(os.path.join(ROOT, corpus), exist_ok=True)
        status, out = run([program, *length, "-timeout=5", "-rss_limit_mb=1024", "-print_final_stats=1",
                           f"-artifact_prefix={found}/", found, corpus])
        runs = re.search(r"number_of_executed_units: (\d+)", out)
        if status == 0 and runs:
            tally.passed += 1
            print(f"{name}: {runs[1]} inputs, no finding")
        else:
            tally.fail(f"{program} (status {status})", out)


def system(tally, rest):
    xml = os.path.join(ROOT, "build/system.xml")
    if os.path.exists(xml):
        os.unlink(xml)
    p = subprocess.run(["tests/system/run.sh"] + (["-k", " ".join(rest)] if rest else []), cwd=ROOT,
                       stdin=subprocess.DEVNULL)
    if not os.path.exists(xml):
        tally.fail(f"tests/system/run.sh (status {p.returncode}) left no results")
        return
    failed = 0
    for case in ET.parse(xml).getroot().iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        if case.find("failure") is not None or case.find("error") is not None:
            failed += 1
            tally.fail(name)
        elif case.find("skipped") is not None:
            tally.skip(name, case.find("skipped").get("message"))
        else:
            tally.passed += 1
    if p.returncode not in (0, 1) or (p.returncode == 1 and not failed):
        tally.fail(f"tests/system/run.sh (status {p.returncode})")


def kernels(tally, _):
    # Those that claims are made for, and the one that must be refused; `make kernels` runs more.
    p = subprocess.run(["tests/kernels/run.sh", "6.12", "6.1", "5.10"], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, env=dict(os.environ, KERNELS_KEEP_RESULTS="1"))
    failed = 0
    for line in p.stdout.decode(errors="replace").splitlines():
        if line.startswith("not ok "):
            failed += 1
            tally.fail("kernel " + line.removeprefix("not ok "))
        elif line.startswith("ok "):
            tally.passed += 1
            print("kernel " + line.removeprefix("ok "))
        elif p.returncode:
            print(line)
    if p.returncode and not failed:
        tally.fail(f"tests/kernels/run.sh (status {p.returncode})")


GROUPS = {"unit": unit, "bpf": bpf, "fuzz": fuzz, "system": system, "kernels": kernels}


def main():
    names = [a for a in sys.argv[1:] if a in GROUPS]
    rest = [a for a in sys.argv[1:] if a not in GROUPS]
    if not names or (rest and names != ["system"]):
        sys.exit(__doc__)
    tally = Tally()
    for name in names:
        print(f"== {name}", flush=True)
        before = tally.passed + tally.failed + tally.skipped
        GROUPS[name](tally, rest)
        if tally.passed + tally.failed + tally.skipped == before:
            tally.fail(f"group {name} has no tests: were they built?")
        sys.stdout.flush()
    print(f"{tally.passed} passed, {tally.failed} failed, {tally.skipped} skipped", flush=True)
    sys.exit(1 if tally.failed else 0)


main()
