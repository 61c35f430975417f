#!/usr/bin/env python3
"""Writes worker/checkpoint/unicode_tables.cc: the letters and numbers of Unicode as ranges, from Python's unicodedata."""
import pathlib
import sys
import unicodedata


def ranges(category):
    found, start = [], None
    for code in range(sys.maxunicode + 2):
        inside = code <= sys.maxunicode and unicodedata.category(chr(code))[0] == category
        if inside and start is None:
            start = code
        elif not inside and start is not None:
            found.append((start, code - 1))
            start = None
    return found


def rows(found):
    lines, line = [], " "
    for first, last in found:
        word = f" {{{first:#x}, {last:#x}}},"
        if len(line) + len(word) > 118:
            lines.append(line)
            line = " "
        line += word
    return "\n".join(lines + [line])


def table(function, category):
    return f"""const std::vector<CodeRange>& {function}() {{
  // clang-format off
  static const std::vector<CodeRange> ranges = {{
{rows(ranges(category))}
  }};
  // clang-format on
  return ranges;
}}
"""


text = f"""// Made by ops/make_unicode_tables.py from Unicode {unicodedata.unidata_version}.
#include "worker/checkpoint/unicode.h"

namespace hone {{

{table("LetterRanges", "L")}
{table("NumberRanges", "N")}
}}  // namespace hone
"""
target = pathlib.Path(__file__).resolve().parent.parent / "worker/checkpoint/unicode_tables.cc"
target.write_text(text)
