// What is served, as one table. docs/openapi.yaml describes it; a test holds the two against each other.
#pragma once

#include <event2/http.h>

#include <functional>
#include <map>
#include <span>
#include <string>

#include "common/artifact/file_store.h"
#include "coordinator/http/connections.h"
#include "coordinator/http/event_streams.h"
#include "coordinator/http/exchange.h"
#include "coordinator/http/figures.h"
#include "coordinator/http/hand_over.h"
#include "coordinator/http/http_options.h"
#include "coordinator/http/job_trials.h"
#include "coordinator/http/questions.h"

namespace hone {

// What an answer is made from. The server's thread alone.
struct HttpContext {
  const HttpOptions& options;
  const Clock& clock;
  HandOver& hand_over;
  Questions& questions;
  JobTrials& trials;
  EventStreams& events;
  Figures& figures;
  Connections& connections;
  const FileStore& artifacts;
  std::function<HttpAsker(const std::string& token)> who;  // Anonymous for a token that is none.
  int64_t started_unix_ms = 0;
};

// What a request does, for who may do it.
enum class HttpAccess { open, read, submit, cancel, drain };
bool May(const HttpAsker& asker, HttpAccess access, const HttpOptions& options);

struct HttpRoute {
  evhttp_cmd_type method;
  const char* pattern;  // "/api/v1/jobs/{job}"
  HttpAccess access;
  void (*answer)(HttpContext& context, const ExchangePtr& exchange);
};
std::span<const HttpRoute> HttpRoutes();
const char* MethodName(evhttp_cmd_type method);

struct RouteMatch {
  const HttpRoute* route = nullptr;
  std::map<std::string, std::string> parameters;
  std::string methods;  // That the path has, where none fits.
};
RouteMatch FindRoute(evhttp_cmd_type method, const std::string& path);

}  // namespace hone
