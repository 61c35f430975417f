// The HTTP server: one thread of its own with libevent, which asks the coordinator's loop through a HandOver and serves
// everybody else from what it knows. docs/http.md tells how it is used, docs/openapi.yaml what it serves.
#pragma once

#include <memory>
#include <string>

#include "common/base/clock.h"
#include "common/base/result.h"
#include "coordinator/http/hand_over.h"
#include "coordinator/http/http_options.h"

namespace hone {

class HttpServer {
 public:
  // Listens, then serves. `wake_loop` ends the loop's wait. kDenied: off the loopback without TLS and without a proxy;
  // kConfiguration: the address is taken, a file is unfit.
  static Result<std::unique_ptr<HttpServer>> Start(HttpOptions options, int wake_loop, const Clock& clock);
  // Says goodbye to open streams and ends.
  virtual ~HttpServer() = default;
  // "http://127.0.0.1:5780"
  virtual std::string url() const = 0;
  virtual HandOver& hand_over() = 0;
};

}  // namespace hone
