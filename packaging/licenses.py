"""Prints the licences of all libraries in the program: `licenses.py ROOT`, from cargo's metadata and
the files that the libraries bring. What is used only for tests and builds is left out."""

import json
import pathlib
import subprocess
import sys

root = sys.argv[1]
host = subprocess.run(["rustc", "-vV"], cwd=root, capture_output=True, text=True, check=True).stdout
host = next(line.split()[1] for line in host.splitlines() if line.startswith("host:"))
command = ["cargo", "metadata", "--format-version=1", "--locked", "--filter-platform", host]
metadata = json.loads(subprocess.run(command, cwd=root, capture_output=True, check=True).stdout)
packages = {package["id"]: package for package in metadata["packages"]}
needs = {
    node["id"]: [
        need["pkg"] for need in node["deps"] if any(kind["kind"] is None for kind in need["dep_kinds"])
    ]
    for node in metadata["resolve"]["nodes"]
}
found, waiting = set(), [metadata["resolve"]["root"]]
while waiting:
    one = waiting.pop()
    if one not in found:
        found.add(one)
        waiting.extend(needs[one])
found.remove(metadata["resolve"]["root"])

texts = {}
for package in sorted((packages[one] for one in found), key=lambda p: (p["name"], p["version"])):
    name = f"{package['name']} {package['version']}"
    licence = package["license"] or package["license_file"] or ""
    if not licence:
        sys.exit(f"{name} says nothing of its licence")
    print(f"{name}: {licence} ({package['repository'] or 'no repository named'})")
    folder = pathlib.Path(package["manifest_path"]).parent
    # One folder deeper lies what a library brings along, such as RocksDB's own sources.
    for file in sorted([*folder.iterdir(), *folder.glob("*/*")]):
        if file.is_file() and file.name.upper().startswith(("LICENSE", "LICENCE", "COPYING", "NOTICE")):
            texts.setdefault(file.read_text(errors="replace").strip(), []).append(f"{name} ({file.relative_to(folder)})")
for text, names in texts.items():
    print(f"\n{'=' * 78}\n{', '.join(names)}\n\n{text}")
