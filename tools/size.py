"""Count the code: `python tools/size.py [ROOT]` prints code lines, docstring lines and files of src and tests.

A code line holds at least one token that is neither a comment nor part of a docstring.
"""

import ast
import io
import sys
import tokenize
from pathlib import Path

IGNORED = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}


def docstring_lines(source: str) -> set[int]:
    """Numbers of the lines of every string that stands alone as a statement."""
    return {
        line
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }


def code_lines(source: str) -> set[int]:
    """Numbers of the lines that hold code."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    lines = {line for token in tokens if token.type not in IGNORED for line in range(token.start[0], token.end[0] + 1)}
    return lines - docstring_lines(source)


def main(root: Path) -> None:
    """Print one line for src and one for tests."""
    for folder in ("src/untrue", "tests"):
        sources = [path.read_text() for path in sorted((root / folder).rglob("*.py"))]
        code = sum(len(code_lines(source)) for source in sources)
        docstrings = sum(len(docstring_lines(source)) for source in sources)
        print(f"{folder:<12}{code:>8,} code lines {docstrings:>8,} docstring lines {len(sources):>6} files")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1])
