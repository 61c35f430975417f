#include "coordinator/http/static_files.h"

#include <event2/buffer.h>
#include <zlib.h>

#include <string>

namespace hone {
namespace {

std::string Unpacked(const StaticFile& file) {
  constexpr int kWindowOfGzip = 15 + 16;
  std::string text(file.bytes, '\0');
  z_stream stream{};
  if (inflateInit2(&stream, kWindowOfGzip) != Z_OK) return "";
  stream.next_in = const_cast<Bytef*>(file.gzip);
  stream.avail_in = static_cast<uInt>(file.gzip_bytes);
  stream.next_out = reinterpret_cast<Bytef*>(text.data());
  stream.avail_out = static_cast<uInt>(text.size());
  const bool whole = inflate(&stream, Z_FINISH) == Z_STREAM_END;
  inflateEnd(&stream);
  return whole ? text : "";
}

}  // namespace

const StaticFile* FindStaticFile(std::string_view name) {
  for (const StaticFile& file : StaticFiles()) {
    if (name == file.name) return &file;
  }
  return nullptr;
}

void SendStaticFile(Exchange& exchange, const StaticFile& file) {
  // Asked about each time, answered without a body while it is the same: a new release shows at once.
  exchange.AddHeader("Cache-Control", "no-cache");
  exchange.AddHeader("ETag", file.etag);
  exchange.AddHeader("Vary", "Accept-Encoding");
  if (exchange.Header("If-None-Match").find(file.etag) != std::string::npos) return exchange.Empty(304);
  evbuffer* body = evbuffer_new();
  if (exchange.Header("Accept-Encoding").find("gzip") != std::string::npos) {
    exchange.AddHeader("Content-Encoding", "gzip");
    evbuffer_add_reference(body, file.gzip, file.gzip_bytes, nullptr, nullptr);
  } else {
    const std::string text = Unpacked(file);
    evbuffer_add(body, text.data(), text.size());
  }
  exchange.Buffer(200, file.type, body);
  evbuffer_free(body);
}

}  // namespace hone
