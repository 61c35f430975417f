#!/usr/bin/env python3
"""What hone is made of, as CycloneDX 1.5: read from the linked programs, dpkg and the wheels in HONE_DEPS."""
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys

PROGRAMS = ["hone", "hone-coordinator", "hone-worker"]


def run(*words):
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout


def linked_libraries(program):
    for line in run("ldd", str(program)).splitlines():
        found = re.search(r"=> (/\S+)", line)
        if found:
            yield found.group(1)


def debian_package(library):
    """The package that owns a library: merged /usr has files under both of its names."""
    real = os.path.realpath(library)
    for path in {library, real, real.replace("/usr/lib", "/lib", 1), library.replace("/lib/", "/usr/lib/", 1)}:
        owner = run("dpkg-query", "-S", path).split(":")[0].strip()
        if owner:
            return owner
    return None


def debian_component(package):
    version, source, arch = run("dpkg-query", "-W", "-f", "${Version}\t${source:Package}\t${Architecture}", package).split("\t")
    return {"type": "library", "name": package, "version": version, "purl": f"pkg:deb/debian/{package}@{version}?arch={arch}",
            "properties": [{"name": "debian:source", "value": source}]}


def wheel_components(deps):
    for metadata in sorted(deps.glob("*/*.dist-info/METADATA")) + sorted(deps.glob("*/*/*.dist-info/METADATA")):
        if "peers" in metadata.parts:
            continue
        fields = dict(line.split(": ", 1) for line in metadata.read_text(errors="replace").splitlines()[:60] if re.match(r"^[A-Za-z-]+: ", line))
        if "Name" in fields and "Version" in fields:
            yield {"type": "library", "name": fields["Name"].lower(), "version": fields["Version"],
                   "purl": f"pkg:pypi/{fields['Name'].lower()}@{fields['Version']}"}
    for folder in sorted(deps.iterdir()) if deps.is_dir() else []:
        named = re.match(r"^(onnxruntime|openvino|onnx)-(\d[\d.]*)$", folder.name)
        if named:
            yield {"type": "library", "name": named.group(1), "version": named.group(2), "purl": f"pkg:pypi/{named.group(1)}@{named.group(2)}"}


def main():
    build = pathlib.Path("build/release/bin")
    missing = [name for name in PROGRAMS if not (build / name).exists()]
    if missing:
        sys.exit(f"sbom: {', '.join(missing)} not built; ops/test or the preset release builds them")
    components, packages = {}, set()
    for name in PROGRAMS:
        path = build / name
        components[name] = {"type": "application", "name": name,
                            "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(path.read_bytes()).hexdigest()}]}
        packages |= {package for package in map(debian_package, linked_libraries(path)) if package}
    for package in sorted(packages):
        components[package] = debian_component(package)
    for component in wheel_components(pathlib.Path(os.environ["HONE_DEPS"])):
        components.setdefault(f"{component['name']} {component['version']}", component)
    document = {"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
                "metadata": {"component": {"type": "application", "name": "hone"}}, "components": list(components.values())}
    text = json.dumps(document, indent=2) + "\n"
    if len(sys.argv) > 1:
        pathlib.Path(sys.argv[1]).write_text(text)
    else:
        sys.stdout.write(text)


main()
