// One request and its answer. Every answer leaves through here, so each has the headers that keep a browser from being
// misused, is compressed where the asker takes that, and is counted.
#pragma once

#include <event2/http.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "common/base/result.h"
#include "common/results/messages.h"
#include "common/transport/transport.h"

namespace hone {

// Who asks, as a token or the address that is listened at says.
struct HttpAsker {
  bool anonymous = true;
  bool by_cookie = false;
  std::string name;            // "" where anonymous.
  Role role = Role::everyone;  // everyone where anonymous.
};

// The status that tells an error of that kind.
int HttpStatus(ErrorCode code);

// Compressed as gzip has it; "" where that fails.
std::string Gzip(std::string_view bytes, int level);

// Answered once; the server's thread alone.
class Exchange {
 public:
  // Told how it was answered.
  using Done = std::function<void(const Exchange& exchange, int status)>;

  Exchange(evhttp_request* request, Done done);
  // A request that nobody answered is answered with 500: that is a bug.
  ~Exchange();
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  // Splits path and query; kUsage for what is no text.
  Result<> Read();

  evhttp_request* request() { return request_; }
  const std::string& path() const { return path_; }  // Decoded, without the query.
  const std::map<std::string, std::string>& query() const { return query_; }
  std::string Query(const std::string& name, const std::string& otherwise = "") const;
  // kUsage unless the whole text is a number within the bounds.
  Result<uint64_t> Number(const std::string& name, uint64_t otherwise, uint64_t least, uint64_t most) const;
  std::string Header(const char* name) const;  // "" where there is none.
  std::string_view Body() const;
  bool Takes(std::string_view media) const;  // Whether Accept names it.

  // Set by who dispatches.
  std::map<std::string, std::string> parameters;  // Of the path.
  HttpAsker asker;
  const char* route = "";  // The pattern, for figures.
  int64_t began_us = 0;

  void AddHeader(const char* name, const std::string& value);
  void Json(int status, const hone::Json& document);
  void JsonText(int status, std::string text, const char* type = "application/json");
  void Problem(const Error& error);
  void Problem(int status, const Error& error);
  void Bytes(int status, const char* type, std::string_view bytes);
  // Whatever was put into `body`.
  void Buffer(int status, const char* type, evbuffer* body);
  void Empty(int status);
  // The request goes on as a stream of chunks, which is the caller's from now on.
  evhttp_request* Stream(const char* type);
  // Takes the answer out of our hands: nothing is sent by the destructor.
  bool answered() const { return request_ == nullptr; }

 private:
  void Send(int status, evbuffer* body);
  void CommonHeaders();
  evhttp_request* request_;
  const Done done_;
  std::string path_;
  std::map<std::string, std::string> query_;
  bool head_ = false;
};

using ExchangePtr = std::shared_ptr<Exchange>;

}  // namespace hone
