"""Break skdal in small ways, one at a time, and list the breaks that no test sees.

Run `python tests/mutants.py`.

Mutants are drawn by a seed, the same ones every time, evenly over kinds (operators, integers,
indices, checks) and over the packages of skdal. Each is written into a copy of the repository,
where the tests that belong to the package run up to the first that fails. What came of a mutant is
kept at once, so that a run which was stopped goes on where it was. `--kept FILE` says where, and
`--survivors FILE` where the list goes. Not part of any lane: 60 mutants take hours.
"""

import argparse
import ast
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# package or module of skdal -> the tests that belong to it, those that take long last
TESTS = {
    "__init__": ["tests/test_package.py"],
    "adapters": [
        "tests/test_batches.py",
        "tests/test_classes.py",
        "tests/test_skorch_contract.py",
        "tests/test_frames.py",
        "tests/test_errors.py",
        "tests/test_items.py",
        "tests/test_trees.py",
        "tests/samplers",
        "tests/test_training.py",
        "tests/test_data.py",
    ],
    "base": [
        "tests/samplers",
        "tests/parallel",
        "tests/test_errors.py",
        "tests/test_rounds.py",
        "tests/test_data.py",
        "tests/test_memory.py",
    ],
    "cli": ["tests/test_cli.py", "tests/test_score_command.py", "tests/test_demo.py"],
    "datasets": ["tests/test_datasets.py", "tests/test_images_on_disk.py"],
    "dynamics": ["tests/dynamics"],
    "exceptions": ["tests/test_errors.py", "tests/test_package.py"],
    "experiments": ["tests/experiments", "tests/test_demo.py", "tests/test_results.py"],
    "gradients": ["tests/gradients"],
    "interop": ["tests/interop"],
    "learner": ["tests/test_learner.py", "tests/modal/test_contract_modal.py"],
    "models": ["tests/test_models.py", "tests/experiments/test_spec.py"],
    "parallel": ["tests/parallel"],
    "pools": [
        "tests/parallel/test_pools.py",
        "tests/test_images_on_disk.py",
        "tests/test_score_command.py",
    ],
    "samplers": ["tests/samplers", "tests/test_errors.py", "tests/test_rounds.py"],
    "training": ["tests/test_training.py", "tests/test_rounds.py"],
    "utils": [
        "tests/test_describe.py",
        "tests/test_trees.py",
        "tests/test_kept.py",
        "tests/test_torch_privates.py",
        "tests/test_threads.py",
        "tests/test_frames.py",
        "tests/test_errors.py",
        "tests/gradients",
        "tests/samplers",
    ],
}
COMPARISONS = {
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
}
ARITHMETIC = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "+"),
    ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "*"),
    ast.Mod: ("%", "*"),
    ast.Pow: ("**", "*"),
    ast.MatMult: ("@", "*"),
}
CHECKS = re.compile(r"_?(check|refuse|warn)_")


@dataclass(frozen=True)
class Mutant:
    """A change of one place of a file of skdal.

    Attributes
    ----------
    path : str
        The file, from the repository's root.
    start, stop : int
        What is replaced, in bytes.
    new : str
        What stands there instead.
    kind : {"operator", "integer", "index", "check"}
        What is changed.
    line : int
        Where it begins.
    """

    path: str
    start: int
    stop: int
    new: str
    kind: str
    line: int

    @property
    def package(self):
        return Path(self.path).parts[1].removesuffix(".py")

    def applied(self, source):
        return source[: self.start] + self.new.encode() + source[self.stop :]

    def shown(self):
        """Return the lines before and after."""
        source = (ROOT / self.path).read_bytes()
        changed = self.applied(source).decode().splitlines()
        return source.decode().splitlines()[self.line - 1], changed[self.line - 1]


class Places(ast.NodeVisitor):
    """All mutants of a file."""

    def __init__(self, path):
        self.path = path
        self.source = (ROOT / path).read_bytes()
        self.found = []
        lines = self.source.splitlines(keepends=True)
        self._starts = [0]
        for line in lines:
            self._starts.append(self._starts[-1] + len(line))
        self.visit(ast.parse(self.source))

    def _span(self, node):
        start = self._starts[node.lineno - 1] + node.col_offset
        return start, self._starts[node.end_lineno - 1] + node.end_col_offset

    def _add(self, start, stop, new, kind):
        line = self.source[:start].count(b"\n") + 1
        self.found.append(Mutant(self.path, start, stop, new, kind, line))

    def _add_operator(self, left, right, words):
        old, new = words
        start = self._span(left)[1]
        between = self.source[start : self._span(right)[0]].decode()
        pattern = r"\s+".join(map(re.escape, old.split()))
        found = re.search(pattern, between)
        if found and "#" not in between:
            self._add(start + found.start(), start + found.end(), new, "operator")

    def visit_Compare(self, node):
        operands = [node.left, *node.comparators]
        for left, operator, right in zip(operands, node.ops, operands[1:]):
            self._add_operator(left, right, COMPARISONS[type(operator)])
        self.generic_visit(node)

    def visit_BinOp(self, node):
        is_text = any(
            isinstance(side, ast.JoinedStr)
            or (isinstance(side, ast.Constant) and isinstance(side.value, str))
            for side in (node.left, node.right)
        )
        if type(node.op) in ARITHMETIC and not is_text:
            self._add_operator(node.left, node.right, ARITHMETIC[type(node.op)])
        self.generic_visit(node)

    def visit_Subscript(self, node):
        for part in ast.walk(node.slice):
            if isinstance(part, ast.Constant) and type(part.value) is int:
                self._add(*self._span(part), str(part.value + 1), "index")
        self.visit(node.value)

    def visit_Constant(self, node):
        if type(node.value) is int:
            self._add(*self._span(node), str(node.value + 1), "integer")

    def visit_JoinedStr(self, node):
        """Leave messages alone."""

    def visit_AnnAssign(self, node):
        if node.value is not None:
            self.visit(node.value)

    def visit_Expr(self, node):
        called = node.value.func if isinstance(node.value, ast.Call) else None
        name = getattr(called, "attr", getattr(called, "id", ""))
        if CHECKS.match(name):
            self._add(*self._span(node), "pass", "check")
        self.generic_visit(node)

    def visit_If(self, node):
        if isinstance(node.body[0], ast.Raise):
            self._add(*self._span(node.test), "False", "check")
        self.generic_visit(node)


def drawn(n, seed, packages):
    """Return n mutants, evenly over kinds and packages as far as there are any."""
    rng = random.Random(seed)
    by_kind = {"operator": {}, "integer": {}, "index": {}, "check": {}}
    for path in sorted((ROOT / "skdal").rglob("*.py")):
        for mutant in Places(str(path.relative_to(ROOT))).found:
            if mutant.package in packages:
                by_kind[mutant.kind].setdefault(mutant.package, []).append(mutant)
    queues = []
    for places in by_kind.values():
        lists = list(places.values())
        rng.shuffle(lists)
        for mutants in lists:
            rng.shuffle(mutants)
        queues.append([m for row in zip_longest(*lists) for m in row if m])
    return [m for row in zip_longest(*queues) for m in row if m][:n]


def tests_of(mutant):
    """Return the tests that belong to a mutant, those that are called like its file first."""
    tests = TESTS[mutant.package]
    stem = Path(mutant.path).stem.strip("_")
    alike = [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / "tests").rglob(f"test_{stem}*.py"))
    ]
    return [*alike, *tests]


def copy_of_the_repository(folder):
    """Copy what git knows, with the data beside it."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    for name in filter(None, listed.split("\0")):
        if not (ROOT / name).is_file():
            continue
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    beside = ROOT.parent / "shared"
    if beside.exists():
        (folder.parent / "shared").symlink_to(beside.resolve())


def run_tests(folder, tests, lane, timeout):
    """Return "passed", "failed" or "timeout", and the last lines of pytest."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-m", lane, *tests]
    environment = {
        **os.environ,
        "PYTHONPATH": str(folder),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    process = subprocess.Popen(
        [*command, "-p", "no:cacheprovider"],
        cwd=folder,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        shown, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        process.communicate()
        return "timeout", ""
    return ("passed" if process.returncode in (0, 5) else "failed"), shown[-600:]


def outcome_of(mutant, folder, lane, timeout):
    """Return what came of a mutant as a row to keep."""
    path = folder / mutant.path
    source = path.read_bytes()
    path.write_bytes(mutant.applied(source))
    start = time.perf_counter()
    try:
        came, shown = run_tests(folder, tests_of(mutant), lane, timeout)
    finally:
        path.write_bytes(source)
    before, after = mutant.shown()
    return {
        **asdict(mutant),
        "before": before.strip(),
        "after": after.strip(),
        "outcome": "survived" if came == "passed" else came,
        "seconds": round(time.perf_counter() - start),
        "pytest": shown.splitlines()[-2:],
    }


def check_whole(mutants, folder, lane, timeout):
    """Stop where the tests of a package fail without any mutant: they would seem to find all."""
    for package in sorted({mutant.package for mutant in mutants}):
        came, shown = run_tests(folder, TESTS[package], lane, timeout)
        if came != "passed":
            sys.exit(f"The tests of {package} {came} without a mutant.\n{shown}")


def survivors(rows):
    """Return the list of those that no test saw, as Markdown."""
    alive = [row for row in rows if row["outcome"] == "survived"]
    lines = [f"{len(rows)} mutants, {len(alive)} of them seen by no test.", ""]
    for row in alive:
        lines += [
            f"- `{row['path']}:{row['line']}` ({row['kind']})",
            f"  `{row['before']}` became `{row['after']}`",
        ]
    return "\n".join(lines) + "\n"


def parser():
    found = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    found.add_argument("-n", type=int, default=60, help="how many")
    found.add_argument("--seed", type=int, default=0)
    found.add_argument("--packages", nargs="*", default=sorted(TESTS), choices=TESTS)
    found.add_argument("--timeout", type=float, default=1800, help="seconds a mutant")
    found.add_argument(
        "--lane", default="not cuda", help="marks, as for pytest -m: all but CUDA"
    )
    found.add_argument("--kept", type=Path, default=Path("mutants.jsonl"))
    found.add_argument("--survivors", type=Path, default=Path("survivors.md"))
    found.add_argument("--list", action="store_true", help="show them, run nothing")
    found.add_argument(
        "--skip-check",
        action="store_true",
        help="trust that the tests pass as they are",
    )
    return found


def main():
    args = parser().parse_args()
    mutants = drawn(args.n, args.seed, args.packages)
    if args.list:
        for mutant in mutants:
            before, after = mutant.shown()
            print(f"{mutant.path}:{mutant.line} {mutant.kind}")
            print(f"    {before.strip()}\n    {after.strip()}")
        return
    done = []
    if args.kept.exists():
        done = [json.loads(line) for line in args.kept.read_text().splitlines()]
    known = {(row["path"], row["start"], row["new"]) for row in done}
    missing = [m for m in mutants if (m.path, m.start, m.new) not in known]
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "repository"
        copy_of_the_repository(folder)
        if not args.skip_check:
            check_whole(missing, folder, args.lane, args.timeout)
        for mutant in missing:
            row = outcome_of(mutant, folder, args.lane, args.timeout)
            done.append(row)
            with args.kept.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(
                f"{row['outcome']:8} {row['seconds']:5} s  {row['path']}:{row['line']}"
            )
            print(f"    {row['before']}\n    {row['after']}", flush=True)
    args.survivors.write_text(survivors(done))


if __name__ == "__main__":
    main()
