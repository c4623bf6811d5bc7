"""Every client line of the protocol checklist has a test that carries its number: test_b07_WHAT is
line 7, test_b02_b03_WHAT lines 2 and 3."""

import ast
import re
from pathlib import Path

LINES = set(range(1, 28))


def numbered_tests():
    """(name, the lines it carries) of each in test_ocserv_*.py."""
    for file in sorted(Path(__file__).parent.glob("test_ocserv_*.py")):
        for node in ast.parse(file.read_text()).body:
            match = isinstance(node, ast.FunctionDef) and re.match(r"test_((?:b\d\d_)+)",
                                                                   node.name)
            if match:
                yield node.name, {int(line) for line in re.findall(r"b(\d\d)", match.group(1))}


def test_every_line_of_the_checklist_has_a_test():
    tested = set().union(*(lines for _, lines in numbered_tests()))
    assert LINES - tested == set(), "lines without a test"
    assert tested - LINES == set(), "no such lines"


def test_no_name_is_used_twice():
    names = [name for name, _ in numbered_tests()]
    assert len(names) == len(set(names)), names
