"""Line coverage by folder, after the tests of a build with -Db_coverage=true have run:

    coverage.py BUILD [FOLDER]

With a folder, its files and the lines that nothing reached. Exit 1 when a folder that has a floor is
below it. gcov comes with the compiler, and JSON of it is all that is needed here."""

import collections
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FLOOR = dict.fromkeys(("wire", "config", "pki", "session", "data"), 85)


def read_lines(build):
    """{file below tund/: {line: times}}, sums over all objects."""
    notes = sorted(build.glob("tund/*.p/*.gcno"))
    done = subprocess.run(["gcov", "--json-format", "--stdout", *notes], cwd=build, check=True,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    files = collections.defaultdict(collections.Counter)
    for document in filter(str.strip, done.stdout.splitlines()):
        document = json.loads(document)
        for entry in document["files"]:
            path = Path(document["current_working_directory"], entry["file"]).resolve()
            if not path.is_relative_to(ROOT / "tund"):
                continue
            for line in entry["lines"]:
                files[str(path.relative_to(ROOT / "tund"))][line["line_number"]] += line["count"]
    return files


def sum_up(files):
    """{folder: (lines reached, lines)}"""
    folders = collections.defaultdict(lambda: (0, 0))
    for name, lines in files.items():
        if "/" in name:
            folder = name.split("/")[0]
            reached, total = folders[folder]
            folders[folder] = reached + sum(map(bool, lines.values())), total + len(lines)
    return folders


def percent(reached, total):
    return 100 * reached / total


def show_folder(files, folder):
    for name, lines in sorted(files.items()):
        if name.startswith(folder + "/"):
            missed = [number for number, count in sorted(lines.items()) if not count]
            reached = len(lines) - len(missed)
            print(f"{name:32} {percent(reached, len(lines)):5.1f} %  {' '.join(map(str, missed))}")


def main(build, folder=None):
    files = read_lines(Path(build).absolute())
    if not files:
        sys.exit(f"{build} has no figures: meson setup -Db_coverage=true, then meson test")
    if folder:
        show_folder(files, folder)
    folders = sum_up(files)
    low = []
    print(f"{'folder':10} {'lines':>6} {'reached':>8} {'':>8}  at least")
    for name, (reached, total) in sorted(folders.items(), key=lambda item: item[0] not in FLOOR):
        floor = FLOOR.get(name)
        print(f"{name + '/':10} {total:6} {reached:8} {percent(reached, total):6.1f} %"
              f"  {str(floor) + ' %' if floor else ''}")
        if floor and percent(reached, total) < floor:
            low.append(name)
    low += [name for name in FLOOR if name not in folders]
    if low:
        sys.exit(f"too little is tested in: {', '.join(low)} (tests/coverage.py {build} {low[0]})")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(*sys.argv[1:])
