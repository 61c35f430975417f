// Lists for other programs: a document's rows as CSV, Markdown or a JSON object a line.
#pragma once

#include <functional>
#include <string>

#include "client/console.h"
#include "client/flags.h"
#include "common/results/messages.h"

namespace hone {

// --format of the commands that list; `format` is then "", "csv", "md" or "jsonl".
void AddFormatFlag(Flags& flags, std::string& format);

// `rows` is an array of objects. jsonl: each on a line. csv (RFC 4180, lines end with CR LF) and md: a column for each
// leaf, named by the keys that lead to it ("metrics.latency_ms_p50"), in the order in which rows show them first; null
// and what a row lacks are empty, an array of plain values has spaces between them, other arrays are JSON.
std::string RowsText(const Json& rows, const std::string& format);

// The answer of a command that lists: `document` with --json, its `rows` with --format, else `text`. kUsage with both.
// Only what is asked for is made.
Result<> PrintList(Console& console, const std::string& format, const std::function<Json()>& document,
                   const std::string& rows, const std::function<std::string()>& text);

}  // namespace hone
