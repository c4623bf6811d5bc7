"""Every server line of the protocol checklist has a test that carries its number.

A test of the lines 2 and 3 is named test_02_03_WHAT, and its docstring names them too.
"""

import ast
import re
from pathlib import Path

LINES = set(range(1, 44))


def numbered_tests():
    """(name, the lines its name carries, its docstring) of each in test_protocol_*.py."""
    for file in sorted(Path(__file__).parent.glob("test_protocol_*.py")):
        for node in ast.parse(file.read_text()).body:
            match = isinstance(node, ast.FunctionDef) and re.match(
                r"test_((?:\d\d_)+)", node.name)
            if match:
                lines = {int(number) for number in match.group(1).strip("_").split("_")}
                yield node.name, lines, ast.get_docstring(node) or ""


def test_every_line_of_the_checklist_has_a_test():
    tested = set().union(*(lines for _, lines, _ in numbered_tests()))
    assert LINES - tested == set(), "lines without a test"
    assert tested - LINES == set(), "no such lines"


def test_docstrings_name_the_lines():
    for name, lines, text in numbered_tests():
        named = re.match(r"(?:Lines? ((?:\d+(?:, | and )?)+)|Section \d)", text)
        assert named, f"{name}: {text!r}"
        if named.group(1):
            assert {int(number) for number in re.findall(r"\d+", named.group(1))} == lines, name
