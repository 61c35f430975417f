// What HTML and XML share.
#pragma once

#include <string>
#include <string_view>

namespace hone {

// Text as it stands between tags and within quoted attributes: &, <, > and " as entities, everything else as it is.
std::string EscapeMarkup(std::string_view text);

}  // namespace hone
