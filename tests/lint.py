"""Rules of the house that ruff does not know; part of `make lint`.

Functions have at most 300 tokens, a line of code has at most 7.5 on average, and of unrelated names
at most 3 are assigned together in 1,000 lines. Run `python tests/lint.py` for what is above, or
`--all` for the figures of each package, too.
"""

import ast
import io
import sys
import tokenize
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1] / "skdal"
TOKENS_OF_A_FUNCTION = 300
TOKENS_A_LINE = {"gradients": 8.5, "all": 7.5}
PACKED_IN_1000_LINES = 3
_NO_CODE = {
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.COMMENT,
    tokenize.ENDMARKER,
}


class File:
    """A source file: its tokens of code, and the nodes of its tree."""

    def __init__(self, path):
        self.path = path
        text = path.read_text()
        self.nodes = list(ast.walk(ast.parse(text)))
        docstrings = set()
        for node in self.nodes:
            docstrings.update(_docstring_lines(node))
        self.tokens = [
            token
            for token in tokenize.generate_tokens(io.StringIO(text).readline)
            if token.type not in _NO_CODE and token.start[0] not in docstrings
        ]
        self.code_lines = {
            line
            for token in self.tokens
            for line in range(token.start[0], token.end[0] + 1)
        }

    @property
    def package(self):
        parts = self.path.relative_to(ROOT).parts
        return parts[0] if len(parts) > 1 else "skdal"

    def functions(self):
        """Yield (name, line, tokens of the body) of each function."""
        for node in self.nodes:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                lines = range(node.body[0].lineno, node.end_lineno + 1)
                n_tokens = sum(token.start[0] in lines for token in self.tokens)
                yield node.name, node.lineno, n_tokens

    def packed(self):
        """Yield the lines of assignments of a tuple that is written out to a tuple of names."""
        for node in self.nodes:
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple):
                if isinstance(node.targets[0], ast.Tuple):
                    yield node.lineno


def _docstring_lines(node):
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    if not isinstance(node, kinds) or ast.get_docstring(node) is None:
        return range(0)
    return range(node.body[0].lineno, node.body[0].end_lineno + 1)


def faults_of(files, show_all=False):
    """Return what is above the limits, a list of lines."""
    faults = []
    tokens = defaultdict(int)
    lines = defaultdict(int)
    packed = []
    for file in files:
        for package in (file.package, "all"):
            tokens[package] += len(file.tokens)
            lines[package] += len(file.code_lines)
        packed += [f"{file.path.relative_to(ROOT)}:{line}" for line in file.packed()]
        for name, line, n_tokens in file.functions():
            if n_tokens > TOKENS_OF_A_FUNCTION:
                place = f"{file.path.relative_to(ROOT)}:{line} {name}"
                faults.append(f"{place}: {n_tokens} tokens in one function")
    density = {package: tokens[package] / lines[package] for package in sorted(tokens)}
    for package, limit in TOKENS_A_LINE.items():
        if density[package] > limit:
            faults.append(f"{package}: {density[package]:.2f} tokens a line of code")
    rate = 1000 * len(packed) / lines["all"]
    if rate > PACKED_IN_1000_LINES:
        faults.append(f"{rate:.1f} packed assignments in 1,000 lines: {packed}")
    if show_all:
        for package, value in density.items():
            print(f"{package:12} {lines[package]:6} lines of code, {value:.2f} tokens")
        print(f"{rate:.1f} packed assignments in 1,000 lines")
    return faults


def main():
    """Print the faults; return 1 if there are any."""
    files = [File(path) for path in sorted(ROOT.rglob("*.py"))]
    faults = faults_of(files, show_all="--all" in sys.argv)
    print("\n".join(faults))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
