#include "coordinator/http/exchange.h"

#include <event2/buffer.h>
#include <event2/keyvalq_struct.h>
#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <cstdlib>

#include "common/base/strings.h"

namespace hone {
namespace {

constexpr size_t kWorthCompressing = 1024;
constexpr int kQuickLevel = 5;
constexpr size_t kMaxQueryParts = 32;

struct ErrorRow {
  ErrorCode code;
  int status;
  const char* name;
};
constexpr ErrorRow kErrors[] = {
    {ErrorCode::kNo, 409, "no"},
    {ErrorCode::kUsage, 400, "usage"},
    {ErrorCode::kUnsure, 409, "unsure"},
    {ErrorCode::kFailed, 500, "failed"},
    {ErrorCode::kEnvironment, 409, "environment"},
    {ErrorCode::kUnreachable, 503, "unreachable"},
    {ErrorCode::kDenied, 403, "denied"},
    {ErrorCode::kNotFound, 404, "not_found"},
    {ErrorCode::kRejected, 422, "rejected"},
    {ErrorCode::kTimeout, 504, "timeout"},
    {ErrorCode::kCancelled, 409, "cancelled"},
    {ErrorCode::kExhausted, 507, "exhausted"},
    {ErrorCode::kConflict, 409, "conflict"},
    {ErrorCode::kBug, 500, "bug"},
    {ErrorCode::kConfiguration, 500, "configuration"},
};

const char* NameOf(ErrorCode code) {
  for (const ErrorRow& row : kErrors) {
    if (row.code == code) return row.name;
  }
  return "bug";
}

struct StatusRow {
  int status;
  const char* title;
};
constexpr StatusRow kTitles[] = {{200, "OK"},
                                 {201, "Created"},
                                 {202, "Accepted"},
                                 {204, "No Content"},
                                 {206, "Partial Content"},
                                 {304, "Not Modified"},
                                 {400, "Bad Request"},
                                 {401, "Unauthorized"},
                                 {403, "Forbidden"},
                                 {404, "Not Found"},
                                 {405, "Method Not Allowed"},
                                 {409, "Conflict"},
                                 {413, "Content Too Large"},
                                 {415, "Unsupported Media Type"},
                                 {416, "Range Not Satisfiable"},
                                 {421, "Misdirected Request"},
                                 {422, "Unprocessable Content"},
                                 {500, "Internal Server Error"},
                                 {503, "Service Unavailable"},
                                 {504, "Gateway Timeout"},
                                 {507, "Insufficient Storage"}};

const char* TitleOf(int status) {
  for (const StatusRow& row : kTitles) {
    if (row.status == status) return row.title;
  }
  return "Unknown";
}

// Percent-decoded; nullopt for what is no text or holds control characters.
std::optional<std::string> Decoded(const std::string& text, bool plus) {
  size_t size = 0;
  char* decoded = evhttp_uridecode(text.c_str(), plus ? 1 : 0, &size);
  if (decoded == nullptr) return std::nullopt;
  std::string result(decoded, size);
  std::free(decoded);
  const bool plain = std::none_of(result.begin(), result.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; });
  if (!plain || !IsUtf8(result)) return std::nullopt;
  return result;
}

}  // namespace

int HttpStatus(ErrorCode code) {
  for (const ErrorRow& row : kErrors) {
    if (row.code == code) return row.status;
  }
  return 500;
}

std::string Gzip(std::string_view bytes, int level) {
  constexpr int kWindowOfGzip = 15 + 16;
  constexpr int kMemory = 8;
  z_stream stream{};
  if (deflateInit2(&stream, level, Z_DEFLATED, kWindowOfGzip, kMemory, Z_DEFAULT_STRATEGY) != Z_OK) return "";
  std::string out(deflateBound(&stream, bytes.size()), '\0');
  // zlib reads what it is given and writes nothing there.
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  const bool whole = deflate(&stream, Z_FINISH) == Z_STREAM_END;
  out.resize(whole ? stream.total_out : 0);
  deflateEnd(&stream);
  return out;
}

Exchange::Exchange(evhttp_request* request, Done done)
    : request_(request), done_(std::move(done)), head_(evhttp_request_get_command(request) == EVHTTP_REQ_HEAD) {}

Exchange::~Exchange() {
  if (request_ != nullptr) Problem({ErrorCode::kBug, "the request was not answered"});
}

Result<> Exchange::Read() {
  const char* uri = evhttp_request_get_uri(request_);
  const std::string whole = uri == nullptr ? "" : uri;
  const size_t mark = whole.find('?');
  const auto path = Decoded(whole.substr(0, mark), false);
  if (!path || path->empty() || path->front() != '/') return Fail(ErrorCode::kUsage, "the path is no text");
  path_ = *path;
  if (mark == std::string::npos) return {};
  const std::string query = whole.substr(mark + 1, whole.find('#', mark) - mark - 1);
  const auto parts = Split(query, '&');
  if (parts.size() > kMaxQueryParts)
    return Fail(ErrorCode::kUsage, fmt::format("the query has more than {} parts", kMaxQueryParts));
  for (const std::string& part : parts) {
    if (part.empty()) continue;
    const size_t equals = part.find('=');
    const auto name = Decoded(part.substr(0, equals), true);
    const auto value =
        equals == std::string::npos ? std::optional<std::string>("") : Decoded(part.substr(equals + 1), true);
    if (!name || !value) return Fail(ErrorCode::kUsage, "the query is no text");
    if (!query_.emplace(*name, *value).second)
      return Fail(ErrorCode::kUsage, fmt::format("'{}' stands twice in the query", Printable(*name, 80)));
  }
  return {};
}

std::string Exchange::Query(const std::string& name, const std::string& otherwise) const {
  const auto found = query_.find(name);
  return found == query_.end() ? otherwise : found->second;
}

Result<uint64_t> Exchange::Number(const std::string& name, uint64_t otherwise, uint64_t least, uint64_t most) const {
  const auto in_path = parameters.find(name);
  const auto in_query = query_.find(name);
  if (in_path == parameters.end() && in_query == query_.end()) return otherwise;
  const auto number = ParseInteger(in_path != parameters.end() ? in_path->second : in_query->second);
  if (number && *number >= 0 && static_cast<uint64_t>(*number) >= least && static_cast<uint64_t>(*number) <= most) {
    return static_cast<uint64_t>(*number);
  }
  return Fail(ErrorCode::kUsage, fmt::format("{} is no whole number from {} to {}", name, least, most));
}

std::string Exchange::Header(const char* name) const {
  const char* value = evhttp_find_header(evhttp_request_get_input_headers(request_), name);
  return value == nullptr ? "" : value;
}

std::string_view Exchange::Body() const {
  evbuffer* buffer = evhttp_request_get_input_buffer(request_);
  const size_t size = evbuffer_get_length(buffer);
  if (size == 0) return {};
  return {reinterpret_cast<const char*>(evbuffer_pullup(buffer, -1)), size};
}

bool Exchange::Takes(std::string_view media) const { return Header("Accept").find(media) != std::string::npos; }

void Exchange::AddHeader(const char* name, const std::string& value) {
  evhttp_add_header(evhttp_request_get_output_headers(request_), name, value.c_str());
}

void Exchange::CommonHeaders() {
  static constexpr const char* kHeaders[][2] = {{"X-Content-Type-Options", "nosniff"},
                                                {"Content-Security-Policy",
                                                 "default-src 'none'; script-src 'self'; style-src 'self'; img-src "
                                                 "'self' data:; font-src 'self'; connect-src 'self'; "
                                                 "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"},
                                                {"X-Frame-Options", "DENY"},
                                                {"Referrer-Policy", "no-referrer"},
                                                {"Cross-Origin-Opener-Policy", "same-origin"},
                                                {"Cross-Origin-Resource-Policy", "same-origin"},
                                                {"Permissions-Policy", "camera=(), geolocation=(), microphone=()"}};
  evkeyvalq* headers = evhttp_request_get_output_headers(request_);
  for (const auto& [name, value] : kHeaders) evhttp_add_header(headers, name, value);
  if (evhttp_find_header(headers, "Cache-Control") == nullptr) evhttp_add_header(headers, "Cache-Control", "no-store");
}

void Exchange::Send(int status, evbuffer* body) {
  CommonHeaders();
  if (body != nullptr && head_) {
    AddHeader("Content-Length", std::to_string(evbuffer_get_length(body)));
    evbuffer_drain(body, evbuffer_get_length(body));
  }
  done_(*this, status);
  // Frees it, also where the other side is gone.
  evhttp_send_reply(std::exchange(request_, nullptr), status, TitleOf(status), body);
}

void Exchange::Json(int status, const hone::Json& document) {
  JsonText(status, document.dump(-1, ' ', false, hone::Json::error_handler_t::replace) + "\n");
}

void Exchange::JsonText(int status, std::string text, const char* type) { Bytes(status, type, text); }

void Exchange::Problem(const Error& error) {
  const bool unknown = error.code == ErrorCode::kDenied && asker.anonymous;
  if (unknown) AddHeader("WWW-Authenticate", "Bearer realm=\"hone\"");
  Problem(unknown ? 401 : HttpStatus(error.code), error);
}

void Exchange::Problem(int status, const Error& error) {
  hone::Json document = {{"type", "about:blank"},
                         {"title", TitleOf(status)},
                         {"status", status},
                         {"code", ExitCode(error.code)},
                         {"name", NameOf(error.code)},
                         {"detail", error.message},
                         {"remedy", TextOrNull(error.remedy)}};
  if (error.line > 0) document["position"] = {{"file", error.file}, {"line", error.line}, {"column", error.column}};
  JsonText(status, document.dump(-1, ' ', false, hone::Json::error_handler_t::replace) + "\n",
           "application/problem+json");
}

void Exchange::Bytes(int status, const char* type, std::string_view bytes) {
  evbuffer* body = evbuffer_new();
  std::string packed;
  const bool takes_gzip = Header("Accept-Encoding").find("gzip") != std::string::npos;
  if (takes_gzip && bytes.size() >= kWorthCompressing) packed = Gzip(bytes, kQuickLevel);
  if (!packed.empty()) {
    AddHeader("Content-Encoding", "gzip");
    bytes = packed;
  }
  AddHeader("Vary", "Accept-Encoding");
  evbuffer_add(body, bytes.data(), bytes.size());
  Buffer(status, type, body);
  evbuffer_free(body);
}

void Exchange::Buffer(int status, const char* type, evbuffer* body) {
  AddHeader("Content-Type", type);
  Send(status, body);
}

void Exchange::Empty(int status) { Send(status, nullptr); }

evhttp_request* Exchange::Stream(const char* type) {
  AddHeader("Content-Type", type);
  // A proxy that gathers answers would hold events back.
  AddHeader("X-Accel-Buffering", "no");
  CommonHeaders();
  done_(*this, 200);
  evhttp_send_reply_start(request_, 200, TitleOf(200));
  return std::exchange(request_, nullptr);
}

}  // namespace hone
