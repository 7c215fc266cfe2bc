"""Prints the licences of everything that is linked into the command: MIT and others want their text to go along."""

import json
import pathlib
import subprocess

metadata = json.loads(subprocess.run(
    ["cargo", "metadata", "--format-version=1", "--locked", "--filter-platform", "x86_64-unknown-linux-gnu"],
    capture_output=True, text=True, check=True).stdout)
packages = {package["id"]: package for package in metadata["packages"]}
nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}

pending = [id for id, package in packages.items() if package["name"] == "pipewright-cli"]
linked = set()
while pending:
    id = pending.pop()
    if id not in linked:
        linked.add(id)
        for dependency in nodes[id]["deps"]:
            if any(kind["kind"] is None for kind in dependency["dep_kinds"]):
                pending.append(dependency["pkg"])

texts = {}
for package in sorted((packages[id] for id in linked), key=lambda package: package["name"]):
    if package["source"] is None:
        continue
    title = f"{package['name']} {package['version']}: {package['license'] or 'see below'}"
    print(title)
    directory = pathlib.Path(package["manifest_path"]).parent
    for file in sorted(directory.iterdir()):
        if file.is_file() and file.name.upper().startswith(("LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE")):
            texts.setdefault(file.read_text(errors="replace").strip(), []).append(f"{package['name']}, {file.name}")
for text, files in texts.items():
    print("\n" + "=" * 80 + "\n" + "\n".join(files) + "\n\n" + text)
