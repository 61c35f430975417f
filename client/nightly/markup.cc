#include "client/nightly/markup.h"

#include <fmt/format.h>

#include "common/base/strings.h"

namespace hone {
namespace {

constexpr const char* kCommonStyle = R"css(
:root{color-scheme:light dark;--line:#8884;--soft:#777}
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem}
table{border-collapse:collapse;width:100%;margin:1rem 0}
th,td{text-align:left;padding:.25rem .6rem;border-bottom:1px solid var(--line);vertical-align:top}
td.n,th.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
.soft{color:var(--soft)}
svg{max-width:100%;height:auto;display:block}svg text{font-size:11px;fill:currentColor}
h3{margin:1.4rem 0 .2rem;font-size:1rem}
)css";

}  // namespace

std::string EscapeMarkup(std::string_view text) {
  std::string safe;
  for (const char c : text) {
    switch (c) {
      case '&':
        safe += "&amp;";
        break;
      case '<':
        safe += "&lt;";
        break;
      case '>':
        safe += "&gt;";
        break;
      case '"':
        safe += "&quot;";
        break;
      default:
        safe += c;
    }
  }
  return safe;
}

std::string Html(std::string_view text) { return EscapeMarkup(Printable(text, 4000)); }

std::string PageBegin(std::string_view title, std::string_view style) {
  return fmt::format(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
      "content=\"width=device-width\">"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src "
      "data:\">"
      "<link rel=\"icon\" href=\"data:,\"><title>{}</title><style>{}{}</style></head><body>\n",
      Html(title), kCommonStyle, style);
}

std::string PageEnd() { return "</body></html>\n"; }

}  // namespace hone
