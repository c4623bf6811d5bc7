"""Takes every check of the verifier out, one at a time, and asks the unit tests whether they notice:

    mutants.py BUILD [FILE[:FUNCTION] ...]

A private copy of each file gets all its mutants at once, each behind a number that the environment
chooses, so that it is compiled once and linked into each test once: a mutant costs one run of a test.
What is taken out is found in the text: conditions (answered yes, and no), operands of && and ||, calls
that are statements, rows of tables, cases, refusing returns. Prints a table, one line a check, with the
test that noticed. Exit 1 when one is not noticed, and when there are fewer than CHECKS says."""

import argparse
import collections
import concurrent.futures
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# How many are found in each, at least: a check that has lost its place in the text is not just gone.
CHECKS = {"verify": 285, "identity": 165, "crl": 85, "crl_list": 190}
# The tests that are asked, the first ones first; the file's own comes before all.
TESTS = ["crl_list", "crl", "identity", "verify", "trust"]
# Calls that check nothing: they own, print or fill.
NO_CHECKS = re.compile(r"free|ref$|done$|^va_|printf$|^mem(set|cpy)$|^clock_print$|^for$|^while$")
RUN_S = 20  # a mutant that never ends is noticed
# What changes nothing that a test could see: (file, function, what is taken out): why.
MEMORY = "only when memory runs out"
SAVES = "only saves time"
SAME = {
    ("verify", "order", "row REASON_CRL_EXPIRED"): "the last: what is not in it comes behind it",
    ("verify", "findings", "row {X509_V_ERR_UNSUPPORTED_CONSTRAINT_SYNTAX, REASON_NAME_CONSTRAINT, "
     "REASON_NAME_CONSTRAINT}"): "OpenSSL 3.0 has the word and does not use it",
    ("verify", "find_rank", "rank < order_count &&"): "every reason that is noted is in the order",
    ("verify", "hear_openssl", "cert: always"): MEMORY,
    ("verify", "check_key", "key: always"): "OpenSSL gives no kind for no key",
    ("verify", "check_signature", "X509_get_signature_info(cert, NULL, NULL, &strength, NULL) &&"):
        "of what it does not know the strength is -1",
    ("verify", "check_denial", "!trust->denial_count: never"): SAVES,
    ("verify", "carries_name", "len > 1 &&"): "a byte in front of the name is read",
    ("verify", "build_chain", "!building ||"): MEMORY,
    ("verify", "build_chain", "!X509_STORE_CTX_init(building, question->trust->store, "
     "question->leaf, untrusted) ||"): MEMORY,
    ("identity", "identity_name_text", "!bio ||"): MEMORY,
    ("identity", "identity_name_text", "X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253) < 0 ||"):
        "OpenSSL parses no name that it cannot print",
    ("identity", "identity_name_text", "len: always"): "printf takes nothing for nothing",
    ("identity", "identity_serial_text", "number &&"): MEMORY,
    ("identity", "identity_spki_hash", "len > 0: always"): MEMORY,
    ("identity", "find_flaw", "i + 1 < len: always"): "OpenSSL's texts end with a zero byte",
    ("identity", "identity_cert_unref", "!cert || __atomic_sub_fetch(&cert->refs, 1, "
     "__ATOMIC_ACQ_REL) > 0: always"): "it leaks",
    ("crl", "same_key", "a == b ||"): SAVES,
    ("crl", "is_loaded", "same_name(X509_get_subject_name(issuer), ca) && same_key(ca, issuer): "
     "never"): SAVES,
    ("crl", "speaks_for", "!is_loaded(trust, issuer) &&"): SAVES,
    ("crl", "speaks_for", "list->issuer &&"): "signature_ok says that there is one",
    ("crl", "find_list", "!list->issuer ||"): "signature_ok says that there is one",
}

TOKEN = re.compile(r"""
    (?P<skip>\s+ | /\*.*?\*/ | //[^\n]* | ^\#(?:[^\n\\]|\\.)*)
  | (?P<text>"(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*')
  | (?P<word>\w+)
  | (?P<sign>&&|\|\||->|\+\+|--|<<=|>>=|<<|>>|[=!<>+\-*/%&|^]=|\.\.\.|.)
""", re.VERBOSE | re.DOTALL | re.MULTILINE)
Token = collections.namedtuple("Token", "kind text start end")
Mutant = collections.namedtuple("Mutant", "file function line what")
PAIRS = {"(": ")", "[": "]", "{": "}"}
ASSIGNS = {"=", "+=", "-=", "|=", "&=", "^=", "*=", "/=", "%=", "<<=", ">>="}
ENDS = {";", ",", "?", ":", "return", "case", "else"} | ASSIGNS | set(PAIRS) | set(PAIRS.values())
STARTS = {";", "{", "}", "else", "if", "for", "while"}  # what stands before a statement
REFUSES = re.compile(r"REASON_(?!NONE)\w+|refuse\(")

# In front of a private copy, and (rows) behind it.
HEAD = """
#include <stdio.h>
#include <stdlib.h>
static int mutant_now = -1;
static int mutant_is(int id) { return mutant_now == id; }
static int mutant_pick(int value, int no, int yes)
{ return mutant_now == no ? 0 : mutant_now == yes ? 1 : value; }
static long mutant_none(long value, int id) { return mutant_now == id ? 0 : value; }
static long mutant_case(long value, int count, const long *pairs)
{
	for (int i = 0; i < count; i++)
		if (mutant_now == pairs[2 * i] && value == pairs[2 * i + 1])
			return -1;
	return value;
}
"""
FOOT = """
__attribute__((constructor)) static void mutant_begin(void)
{
	const char *text = getenv("TUND_MUTANT");
	mutant_now = text ? atoi(text) : -1;
	setvbuf(stdout, NULL, _IOLBF, 0);
%s}
"""


class Copy:
    """The text of one file, the mutants found in it, and the text that holds them all."""

    def __init__(self, path, mutants):
        self.path = path
        self.text = path.read_text()
        self.mutants = mutants  # of all files; an index is a mutant's number
        self.edits = []  # (start, end, before, after)
        self.rows = ""  # statements of mutant_begin
        self.function = ""
        self.tokens = [Token(match.lastgroup, match.group(), match.start(), match.end())
                       for match in TOKEN.finditer(self.text) if match.lastgroup != "skip"]
        self.partner = {}
        opened = []
        for at, token in enumerate(self.tokens):
            if token.kind == "sign" and token.text in PAIRS:
                opened.append(at)
            elif token.kind == "sign" and token.text in PAIRS.values():
                self.partner[at] = opened.pop()
                self.partner[self.partner[at]] = at
        self.find()

    def at(self, index):
        return self.tokens[index].text

    def source(self, first, last):
        return " ".join(self.text[self.tokens[first].start:self.tokens[last].end].split())

    def add(self, index, what):
        line = self.text.count("\n", 0, self.tokens[index].start) + 1
        self.mutants.append(Mutant(self.path, self.function, line, what))
        return len(self.mutants) - 1

    def wrap(self, first, last, before, after):
        self.edits.append((self.tokens[first].start, self.tokens[last].end, before, after))

    def find(self):
        index = 0
        while index < len(self.tokens):
            if self.at(index) == "{":
                before = self.at(index - 1)
                if before == ")":
                    name = self.partner[index - 1] - 1
                    self.function = self.at(name)
                    self.find_in_body(index, self.partner[index])
                elif before == "=":
                    self.find_rows(index)
            index = self.partner[index] + 1 if self.at(index) in PAIRS else index + 1

    # ---- tables ----

    def find_rows(self, opening):
        name = opening - 1
        while self.at(name) != "[":
            name -= 1
        self.function = self.at(name - 1)
        start = self.text.rindex("static const ", 0, self.tokens[opening].start)
        self.edits.append((start, start + len("static const "), "static /*", "*/ "))
        rows = self.split(opening + 1, self.partner[opening])
        for row, (first, last) in enumerate(rows):
            number = self.add(first, f"row {self.source(first, last)}")
            other = row - 1 if row else 1
            self.rows += (f"\tif (mutant_now == {number}) __builtin_memcpy(&{self.function}[{row}], "
                          f"&{self.function}[{other}], sizeof({self.function}[0]));\n")

    def split(self, first, end):
        """The parts between commas, as first and last token."""
        parts, start, index = [], first, first
        while index < end:
            if self.at(index) == ",":
                parts.append((start, index - 1))
                start = index + 1
            index = self.partner[index] + 1 if self.at(index) in PAIRS else index + 1
        return parts + ([(start, end - 1)] if start < end else [])

    # ---- functions ----

    def find_in_body(self, first, last):
        for index in range(first + 1, last):
            text = self.at(index)
            if text == "if":
                self.decide(index + 2, self.partner[index + 1] - 1)
            elif text == "?":
                self.decide(self.left_of(index, ENDS), index - 1)
            elif text in ("&&", "||"):
                self.find_operands(index, text)
            elif text == "switch":
                self.find_cases(index)
            elif text == "return" and self.at(index + 1) != ";":
                self.find_return(index + 1)
            elif text == "reason" and self.at(index + 1) == "=" and self.at(index - 1) in ";{})else":
                end = self.right_of(index + 1, {";"})
                if "(" in self.source(index + 2, end):
                    number = self.add(index, f"{self.source(index, end)} (then none)")
                    self.wrap(index + 2, end, "mutant_none(", f", {number})")
            elif self.tokens[index].kind == "word" and self.at(index + 1) == "(":
                self.find_call(index)

    def left_of(self, index, ends):
        """The first token of what ends before index."""
        index -= 1
        while True:
            if self.at(index) in PAIRS.values() and self.at(index) != "}":
                index = self.partner[index]
            elif self.at(index) in ends:
                return index + 1
            index -= 1

    def right_of(self, index, ends):
        index += 1
        while self.at(index) not in ends:
            index = self.partner[index] + 1 if self.at(index) in PAIRS else index + 1
        return index - 1

    def joined_by(self, first, last):
        """|| or && when that is what holds it together, else None."""
        signs, index = set(), first
        while index <= last:
            signs.add(self.at(index))
            index = self.partner[index] + 1 if self.at(index) in PAIRS else index + 1
        return next((sign for sign in ("?", "||", "&&") if sign in signs), None)

    def decide(self, first, last):
        """A condition. What follows from its operands is left to them."""
        sign, source = self.joined_by(first, last), self.source(first, last)
        no = yes = -2
        if sign != "||":
            no = self.add(first, f"{source}: never")
        if sign != "&&":
            yes = self.add(first, f"{source}: always")
        self.wrap(first, last, "mutant_pick(!!(", f"), {no}, {yes})")

    def find_operands(self, index, sign):
        ends = ENDS | {"||"} | ({"&&"} if sign == "&&" else set())
        spans = [(index + 1, self.right_of(index, ends - set(PAIRS)))]
        start = self.left_of(index, ends)
        if self.at(start - 1) != sign:  # else it was the operand behind that one
            spans.insert(0, (start, index - 1))
        for first, last in spans:
            number = self.add(first, f"{self.source(first, last)} {sign}")
            no, yes = (number, -2) if sign == "||" else (-2, number)
            self.wrap(first, last, "mutant_pick(!!(", f"), {no}, {yes})")

    def find_cases(self, index):
        end = self.partner[index + 1]
        opening, pairs = end + 1, []
        for at in range(opening, self.partner[opening]):
            if self.at(at) == "case":
                label = self.source(at + 1, self.right_of(at, {":"}))
                pairs.append(f"{self.add(at, f'case {label}')}, {label}")
        self.wrap(index + 2, end - 1, "mutant_case(",
                  f", {len(pairs)}, (const long[]){{{', '.join(pairs)}}})")

    def find_return(self, first):
        last = self.right_of(first - 1, {";"})
        source = self.source(first, last)
        guarded = self.at(first - 2) == ")"
        if REFUSES.match(source) and not guarded and self.joined_by(first, last) is None:
            number = self.add(first, f"return {source}: none")
            self.wrap(first, last, "mutant_none(", f", {number})")
        elif self.joined_by(first, last) in ("||", "&&") or (
                self.joined_by(first, last) is None and re.search(r" (==|!=|<|>|<=|>=|&) ", source)):
            self.decide(first, last)

    def find_call(self, index):
        end, before = self.partner[index + 1], index - 1
        if self.at(before) == ")":  # of a condition, not of a cast
            before = self.partner[before] - 1
        is_labelled = self.at(before) == ":" and {"case", "default"} & {self.at(before - 2), self.at(before - 1)}
        if not (is_labelled or self.at(before) in STARTS) or self.at(end + 1) != ";":
            return
        if NO_CHECKS.search(self.at(index)):
            return
        number = self.add(index, self.source(index, end))
        self.wrap(index, end, f"(void)(mutant_is({number}) || (", ", 0))")

    # ---- all of them in one text ----

    def mutated(self):
        inserts = []
        for start, end, before, after in self.edits:
            inserts.append(((start, 1, -end), before))
            inserts.append(((end, 0, -start), after))
        text, done = [HEAD, f'#line 1 "{self.path.name}"\n'], 0
        for (at, _, _), insert in sorted(inserts, key=lambda item: item[0]):
            text += [self.text[done:at], insert]
            done = at
        return "".join(text + [self.text[done:], FOOT % self.rows])


# ---- building ----

def compile_copies(build, copies, directory):
    """The objects of the copies."""
    commands = {Path(row["directory"], row["file"]).resolve(): row
                for row in json.loads((build / "compile_commands.json").read_text())}
    objects = []
    for copy in copies:
        row = commands[copy.path]
        source = directory / copy.path.name
        source.write_text(copy.mutated())
        words = shlex.split(row["command"])
        made = directory / f"{copy.path.stem}.o"
        words[words.index("-o") + 1] = str(made)
        words[-1] = str(source)
        for option in ("-MF", "-MQ"):  # no dependencies
            drop = words.index(option)
            words[drop:drop + 2] = []
        words = [word for word in words if word not in ("-MD", "-Werror")]
        words += ["-w", "-O1", "-iquote", str(copy.path.parent)]
        subprocess.run(words, cwd=row["directory"], check=True)
        objects.append(made)
    return objects


def link_test(build, name, objects, directory):
    """The test with the objects in the place of the library's."""
    target = f"tests/test_{name}"
    listed = subprocess.run(["ninja", "-C", build, "-t", "commands", target], check=True, text=True,
                            stdout=subprocess.PIPE).stdout
    words = shlex.split(listed.strip().splitlines()[-1])
    made = directory / f"test_{name}"
    place = words.index("-o")
    words[place + 1:place + 2] = [str(made), *map(str, objects)]
    subprocess.run(words, cwd=build, check=True)
    return made


# ---- running ----

def run_test(program, number, directory):
    """None when it passes, else what failed first: what else it would say is not waited for."""
    environment = {**os.environ, "TUND_MUTANT": str(number)}
    running = subprocess.Popen([program], cwd=directory, env=environment, text=True, errors="replace",
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    late = threading.Timer(RUN_S, running.kill)
    late.start()
    test = said = ""
    for line in running.stdout:
        if line.startswith("[ RUN ") and not said:
            test = line.split()[-1]
        elif line.startswith("[  ERROR ") or not line.startswith("["):
            said = said or line.split("---", 1)[-1].strip()
        if said:
            running.kill()
    late.cancel()
    status = running.wait()
    if status == 0:
        return None
    return f"{test}: {said or ('it does not end' if status == -signal.SIGKILL else f'ends with {status}')}"


def ask_tests(number, mutant, programs, directory):
    own = mutant.file.stem
    for name in sorted(programs, key=lambda name: name != own):
        noticed = run_test(programs[name], number, directory)
        if noticed:
            return f"{name}: {noticed}"
    return None


def is_same(mutant):
    return SAME.get((mutant.file.stem, mutant.function, mutant.what))


def is_chosen(mutant, chosen):
    return not chosen or mutant.file.stem in chosen or f"{mutant.file.stem}:{mutant.function}" in chosen


def print_mutant(mutant, noticed):
    place = f"{mutant.file.name}:{mutant.line}"
    print(f"{place:16} {mutant.function:24} {mutant.what[:70]:70}  {noticed}", flush=True)


def check_counts(copies, mutants):
    """Whether none has been lost, and every exception is still met."""
    problems = []
    for copy in copies:
        found = sum(mutant.file == copy.path for mutant in mutants)
        if found < CHECKS[copy.path.stem]:
            problems.append(f"{copy.path.name}: {found} checks found, there were "
                            f"{CHECKS[copy.path.stem]}: if some are really gone, say so in CHECKS")
    met = {(mutant.file.stem, mutant.function, mutant.what) for mutant in mutants}
    problems += [f"SAME: {' '.join(key)}: there is no such check" for key in SAME if key not in met]
    times = collections.Counter((mutant.file.stem, mutant.function, mutant.what) for mutant in mutants)
    problems += [f"SAME: {' '.join(key)}: there are {times[key]} such" for key in SAME if times[key] > 1]
    return problems


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("build", type=Path)
    parser.add_argument("chosen", nargs="*")
    options = parser.parse_args()
    build, mutants, began = options.build.absolute(), [], time.monotonic()
    copies = [Copy(ROOT / "tund/pki" / f"{stem}.c", mutants) for stem in CHECKS]
    problems = check_counts(copies, mutants)
    survivors = []
    with tempfile.TemporaryDirectory(prefix="tund-mutants-") as scratch:
        scratch = Path(scratch)
        objects = compile_copies(build, copies, scratch)
        programs = {name: link_test(build, name, objects, scratch) for name in TESTS}
        for name, program in programs.items():
            failure = run_test(program, -1, scratch)
            if failure:
                sys.exit(f"mutants: test_{name} fails with nothing taken out: {failure}")
        chosen = [number for number, mutant in enumerate(mutants) if is_chosen(mutant, options.chosen)]
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            results = pool.map(lambda number: is_same(mutants[number]) or
                               ask_tests(number, mutants[number], programs, scratch), chosen)
            for number, noticed in zip(chosen, results):
                print_mutant(mutants[number], noticed or "NOT NOTICED")
                if not noticed:
                    survivors.append(number)
    for problem in problems:
        print(problem)
    print(f"{len(chosen)} checks taken out in {time.monotonic() - began:.0f} s, "
          f"{len(survivors)} not noticed")
    return 1 if survivors or problems else 0


if __name__ == "__main__":
    sys.exit(main())
