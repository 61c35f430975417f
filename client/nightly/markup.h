// What pages and XML documents share.
#pragma once

#include <string>
#include <string_view>

namespace hone {

// Text as it stands between tags and within quoted attributes: &, <, > and " as entities, everything else as it is.
std::string EscapeMarkup(std::string_view text);

// Text of a page: made safe to print, cut where it is very long, escaped.
std::string Html(std::string_view text);

// From the doctype to the open body: a page that fetches nothing and runs nothing (its policy says so to the browser),
// in the reader's light or dark. `style` is added to what all pages have.
std::string PageBegin(std::string_view title, std::string_view style = "");
std::string PageEnd();

}  // namespace hone
