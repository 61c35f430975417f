// The dashboard's files and the API's description, compiled in and compressed.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "coordinator/http/exchange.h"

namespace hone {

struct StaticFile {
  const char* name;  // "index.html", "plots/svg.js"
  const char* type;
  const char* etag;  // In quotes.
  const unsigned char* gzip;
  size_t gzip_bytes;
  size_t bytes;  // Unpacked.
};

std::span<const StaticFile> StaticFiles();
// nullptr where there is none of that very name: names are compared, no path is opened.
const StaticFile* FindStaticFile(std::string_view name);
// Answers with the file, or that the asker's copy is right.
void SendStaticFile(Exchange& exchange, const StaticFile& file);

}  // namespace hone
