"""Writes a C++ source that holds files, compressed: coordinator/http/static_files.h reads them.

    embed_files.py --out FILE --root DIR [--file NAME=PATH] RELATIVE ...
"""
import argparse
import gzip
import hashlib
import pathlib

TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8",
         ".svg": "image/svg+xml", ".yaml": "application/yaml"}


def literal(data):
    lines = []
    for start in range(0, len(data), 32):
        lines.append("  " + "".join(f"{byte}," for byte in data[start:start + 32]))
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", required=True)
    parser.add_argument("--root", required=True)
    parser.add_argument("--file", action="append", default=[])
    parser.add_argument("relative", nargs="*")
    given = parser.parse_args()
    files = [(name, pathlib.Path(given.root) / name) for name in sorted(given.relative)]
    files += [tuple(one.split("=", 1)) for one in given.file]
    arrays, rows = [], []
    for number, (name, path) in enumerate(files):
        data = pathlib.Path(path).read_bytes()
        packed = gzip.compress(data, 9, mtime=0)
        arrays.append(f"const unsigned char kFile{number}[] = {{\n{literal(packed)}\n}};")
        rows.append(f'    {{"{name}", "{TYPES[pathlib.Path(name).suffix]}", "\\"{hashlib.sha256(data).hexdigest()[:24]}\\"", kFile{number}, '
                    f"sizeof kFile{number}, {len(data)}}},")
    text = "\n".join(["// Made by coordinator/http/embed_files.py.", '#include "coordinator/http/static_files.h"', "", "namespace hone {", "namespace {", "",
                      *arrays, "", "const StaticFile kFiles[] = {", *rows, "};", "", "}  // namespace", "",
                      "std::span<const StaticFile> StaticFiles() { return kFiles; }", "", "}  // namespace hone", ""])
    pathlib.Path(given.out).write_text(text)


main()
