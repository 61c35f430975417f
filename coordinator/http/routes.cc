#include "coordinator/http/routes.h"

#include "common/base/strings.h"
#include "coordinator/http/answers.h"

namespace hone {
namespace {

constexpr const char* kJobs = "/api/v1/jobs";

const HttpRoute kRoutes[] = {
    {EVHTTP_REQ_GET, "/healthz", HttpAccess::open, answers::Health},
    {EVHTTP_REQ_GET, "/readyz", HttpAccess::open, answers::Ready},
    {EVHTTP_REQ_GET, "/version", HttpAccess::open, answers::Version},
    {EVHTTP_REQ_GET, "/metrics", HttpAccess::read, answers::Metrics},
    {EVHTTP_REQ_GET, "/api/v1/openapi.yaml", HttpAccess::open, answers::OpenApi},
    {EVHTTP_REQ_GET, "/api/v1/session", HttpAccess::open, answers::WhoAmI},
    {EVHTTP_REQ_POST, "/api/v1/session", HttpAccess::open, answers::LogIn},
    {EVHTTP_REQ_DELETE, "/api/v1/session", HttpAccess::open, answers::LogOut},
    {EVHTTP_REQ_GET, kJobs, HttpAccess::read, answers::ListJobs},
    {EVHTTP_REQ_POST, kJobs, HttpAccess::submit, answers::Submit},
    {EVHTTP_REQ_GET, "/api/v1/jobs/{job}", HttpAccess::read, answers::GetJob},
    {EVHTTP_REQ_GET, "/api/v1/jobs/{job}/trials", HttpAccess::read, answers::ListTrials},
    {EVHTTP_REQ_GET, "/api/v1/jobs/{job}/trials/{trial}", HttpAccess::read, answers::GetTrial},
    {EVHTTP_REQ_GET, "/api/v1/jobs/{job}/attempts", HttpAccess::read, answers::ListAttempts},
    {EVHTTP_REQ_GET, "/api/v1/jobs/{job}/explain", HttpAccess::read, answers::ExplainJob},
    {EVHTTP_REQ_GET, "/api/v1/jobs/{job}/events", HttpAccess::read, answers::Events},
    {EVHTTP_REQ_POST, "/api/v1/jobs/{job}/cancel", HttpAccess::cancel, answers::Cancel},
    {EVHTTP_REQ_POST, "/api/v1/jobs/{job}/retry", HttpAccess::cancel, answers::Retry},
    {EVHTTP_REQ_GET, "/api/v1/events", HttpAccess::read, answers::Events},
    {EVHTTP_REQ_GET, "/api/v1/compare", HttpAccess::read, answers::CompareTrials},
    {EVHTTP_REQ_GET, "/api/v1/workers", HttpAccess::read, answers::ListWorkers},
    {EVHTTP_REQ_POST, "/api/v1/workers/{worker}/drain", HttpAccess::drain, answers::Drain},
    {EVHTTP_REQ_POST, "/api/v1/workers/{worker}/undrain", HttpAccess::drain, answers::Undrain},
    {EVHTTP_REQ_GET, "/api/v1/fleet", HttpAccess::read, answers::GetFleet},
    {EVHTTP_REQ_GET, "/api/v1/nightly", HttpAccess::read, answers::ListSuites},
    {EVHTTP_REQ_GET, "/api/v1/nightly/{suite}", HttpAccess::read, answers::NightlyHistory},
    {EVHTTP_REQ_GET, "/api/v1/artifacts/{digest}", HttpAccess::read, answers::GetArtifact},
    {EVHTTP_REQ_HEAD, "/api/v1/artifacts/{digest}", HttpAccess::read, answers::GetArtifact},
    {EVHTTP_REQ_PUT, "/api/v1/artifacts/{digest}", HttpAccess::submit, answers::PutArtifact},
    {EVHTTP_REQ_GET, "/", HttpAccess::open, answers::Page},
};
// Whatever is none of them and not beneath /api.
const HttpRoute kFile = {EVHTTP_REQ_GET, "/{file}", HttpAccess::open, answers::File};

struct MethodRow {
  evhttp_cmd_type method;
  const char* name;
};
constexpr MethodRow kMethods[] = {{EVHTTP_REQ_GET, "GET"},
                                  {EVHTTP_REQ_HEAD, "HEAD"},
                                  {EVHTTP_REQ_POST, "POST"},
                                  {EVHTTP_REQ_PUT, "PUT"},
                                  {EVHTTP_REQ_DELETE, "DELETE"}};

bool Fits(const std::vector<std::string>& pattern, const std::vector<std::string>& parts,
          std::map<std::string, std::string>& parameters) {
  if (pattern.size() != parts.size()) return false;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (pattern[i].starts_with('{')) {
      if (parts[i].empty()) return false;
      parameters[pattern[i].substr(1, pattern[i].size() - 2)] = parts[i];
    } else if (pattern[i] != parts[i]) {
      return false;
    }
  }
  return true;
}

}  // namespace

const char* MethodName(evhttp_cmd_type method) {
  for (const MethodRow& row : kMethods) {
    if (row.method == method) return row.name;
  }
  return "";
}

std::span<const HttpRoute> HttpRoutes() {
  static const std::vector<HttpRoute> all = [] {
    std::vector<HttpRoute> rows(std::begin(kRoutes), std::end(kRoutes));
    rows.push_back(kFile);
    return rows;
  }();
  return all;
}

bool May(const HttpAsker& asker, HttpAccess access, const HttpOptions& options) {
  if (access == HttpAccess::open) return true;
  if (asker.anonymous) return access == HttpAccess::read && options.open_reading;
  if (asker.role == Role::admin) return true;
  return asker.role == Role::client && access != HttpAccess::drain;
}

RouteMatch FindRoute(evhttp_cmd_type method, const std::string& path) {
  RouteMatch match;
  const auto parts = Split(path, '/');
  for (const HttpRoute& route : kRoutes) {
    std::map<std::string, std::string> parameters;
    if (!Fits(Split(route.pattern, '/'), parts, parameters)) continue;
    match.methods += (match.methods.empty() ? "" : ", ") + std::string(MethodName(route.method));
    if (route.method != method) continue;
    match.route = &route;
    match.parameters = std::move(parameters);
    return match;
  }
  const bool asks = method == EVHTTP_REQ_GET || method == EVHTTP_REQ_HEAD;
  if (!match.methods.empty() || !asks || path.starts_with("/api")) return match;
  match.route = &kFile;
  match.parameters["file"] = path.substr(1);
  return match;
}

}  // namespace hone
