#include "coordinator/http/http_server.h"

#include <arpa/inet.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/listener.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <optional>
#include <thread>

#include "common/base/file.h"
#include "common/base/strings.h"
#include "common/transport/tokens.h"
#include "coordinator/http/routes.h"

namespace hone {
namespace {

constexpr size_t kMaxHeaders = 16 << 10;
constexpr size_t kMaxBody = 5 << 19;  // 2.5 MiB: a recipe of 1 MiB as JSON.
constexpr int kIdleSeconds = 30;
constexpr timeval kTick = {0, 50'000};
constexpr int64_t kTokensLookMs = 500;
constexpr int kAllMethods = EVHTTP_REQ_GET | EVHTTP_REQ_POST | EVHTTP_REQ_HEAD | EVHTTP_REQ_PUT | EVHTTP_REQ_DELETE |
                            EVHTTP_REQ_OPTIONS | EVHTTP_REQ_TRACE | EVHTTP_REQ_CONNECT | EVHTTP_REQ_PATCH;

struct FreeEvent {
  void operator()(event* one) const { event_free(one); }
  void operator()(event_base* one) const { event_base_free(one); }
  void operator()(evhttp* one) const { evhttp_free(one); }
};

struct Address {
  std::string host;
  uint16_t port = 0;
};

Result<Address> ParseAddress(const std::string& text) {
  const size_t colon = text.rfind(':');
  const auto port = colon == std::string::npos ? ParseInteger("") : ParseInteger(text.substr(colon + 1));
  std::string host = text.substr(0, colon == std::string::npos ? 0 : colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  if (host == "localhost") host = "127.0.0.1";
  in_addr four{};
  in6_addr six{};
  const bool is_address = inet_pton(AF_INET, host.c_str(), &four) == 1 || inet_pton(AF_INET6, host.c_str(), &six) == 1;
  if (is_address && port && *port >= 0 && *port <= UINT16_MAX) return Address{host, static_cast<uint16_t>(*port)};
  return Fail(ErrorCode::kConfiguration, fmt::format("--http: '{}' is no ADDRESS:PORT", Printable(text, 100)),
              "As 127.0.0.1:5780 or [::1]:5780.");
}

bool IsLoopbackHost(const std::string& host) { return host.starts_with("127.") || host == "::1"; }

// The name without the port. "": none.
std::string HostName(const std::string& header) {
  if (header.starts_with('[')) return header.substr(0, header.find(']') + 1);
  return header.substr(0, header.find(':'));
}

int64_t NowUs() {
  return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// The list of tokens, read again when its file changed. A list that cannot be read lets nobody in.
class TokenDoor {
 public:
  TokenDoor(std::filesystem::path file, const Clock& clock) : file_(std::move(file)), clock_(clock) {}

  HttpAsker Who(const std::string& token) {
    Reload();
    const TokenList::Entry* entry = token.empty() ? nullptr : list_.Find(token);
    if (entry == nullptr) return {};
    return {false, false, entry->name, entry->role};
  }

 private:
  void Reload() {
    if (file_.empty() || (looked_ms_ != 0 && clock_.SteadyMs() - looked_ms_ < kTokensLookMs)) return;
    looked_ms_ = clock_.SteadyMs();
    auto read = TokenList::Read(file_);
    if (!read) spdlog::error("tokens: {}", read.error().message);
    list_ = read ? std::move(*read) : TokenList();
  }
  const std::filesystem::path file_;
  const Clock& clock_;
  TokenList list_;
  int64_t looked_ms_ = 0;
};

struct Refusal {
  int status = 0;
  Error error;
  const char* counted = nullptr;
};

class Server final : public HttpServer {
 public:
  Server(HttpOptions options, std::unique_ptr<HandOver> hand_over, FileStore artifacts, const Clock& clock,
         Descriptor stop)
      : options_(std::move(options)),
        clock_(clock),
        hand_over_(std::move(hand_over)),
        artifacts_(std::move(artifacts)),
        stop_(std::move(stop)),
        door_(options_.tokens, clock) {}
  ~Server() override {
    if (!thread_.joinable()) return;
    const uint64_t one = 1;
    const auto ignored = ::write(stop_.get(), &one, sizeof one);
    (void)ignored;
    thread_.join();
  }

  Result<> Listen();
  void Run() {
    thread_ = std::thread([this] { Serve(); });
  }
  std::string url() const override { return url_; }
  HandOver& hand_over() override { return *hand_over_; }

 private:
  void Serve();
  void Answer(evhttp_request* request);
  std::optional<Refusal> Refuse(Exchange& exchange, const HttpRoute& route);
  std::optional<Refusal> RefuseHost(const Exchange& exchange) const;
  std::optional<Refusal> RefuseOrigin(const Exchange& exchange) const;
  void Identify(Exchange& exchange);
  void TakeNews();
  void Tick();

  HttpOptions options_;
  const Clock& clock_;
  const std::unique_ptr<HandOver> hand_over_;
  const FileStore artifacts_;
  const Descriptor stop_;
  std::string url_;
  Tls tls_;
  TokenDoor door_;
  Figures figures_;
  std::unique_ptr<event_base, FreeEvent> base_;
  // The server goes before those that its requests refer to are told that they are gone.
  std::unique_ptr<Questions> questions_;
  std::unique_ptr<JobTrials> trials_;
  std::unique_ptr<EventStreams> events_;
  std::unique_ptr<Connections> connections_;
  std::unique_ptr<HttpContext> context_;
  std::unique_ptr<evhttp, FreeEvent> http_;
  std::thread thread_;
};

Result<> Server::Listen() {
  TRY_ASSIGN(const Address address, ParseAddress(options_.listen));
  options_.loopback = IsLoopbackHost(address.host);
  const bool has_tls = !options_.tls_certificate.empty() || !options_.tls_key.empty();
  if (!options_.loopback && !has_tls && !options_.behind_proxy) {
    return Fail(ErrorCode::kDenied,
                fmt::format("--http {}: off the loopback, tokens would travel in the open", options_.listen),
                "Give --http-tls-cert and --http-tls-key, or --http-behind-proxy where a proxy does TLS.");
  }
  options_.open_reading = options_.loopback && !options_.behind_proxy && !options_.keys;
  if (has_tls) {
    TRY_ASSIGN(tls_, LoadTls(options_.tls_certificate, options_.tls_key));
  }
  base_.reset(event_base_new());
  http_.reset(base_ == nullptr ? nullptr : evhttp_new(base_.get()));
  if (http_ == nullptr) return Fail(ErrorCode::kFailed, "make the HTTP server");
  evhttp_set_max_headers_size(http_.get(), kMaxHeaders);
  evhttp_set_max_body_size(http_.get(), kMaxBody);
  evhttp_set_timeout(http_.get(), kIdleSeconds);
  evhttp_set_allowed_methods(http_.get(), kAllMethods);
  evhttp_set_default_content_type(http_.get(), nullptr);
  evhttp_set_gencb(
      http_.get(), [](evhttp_request* request, void* self) { static_cast<Server*>(self)->Answer(request); }, this);
  questions_ = std::make_unique<Questions>(*hand_over_, clock_);
  trials_ = std::make_unique<JobTrials>(*questions_, clock_);
  events_ = std::make_unique<EventStreams>(*questions_, clock_, options_.streams);
  connections_ = std::make_unique<Connections>(http_.get(), tls_.get(), clock_,
                                               Connections::Limits{options_.connections, options_.request_ms});
  context_ = std::make_unique<HttpContext>(
      HttpContext{options_, clock_, *hand_over_, *questions_, *trials_, *events_, figures_, *connections_, artifacts_,
                  [this](const std::string& token) { return door_.Who(token); }, clock_.UnixMs()});
  evhttp_bound_socket* bound = evhttp_bind_socket_with_handle(http_.get(), address.host.c_str(), address.port);
  if (bound == nullptr)
    return Fail(ErrorCode::kConfiguration,
                fmt::format("listen at --http {}: {}", options_.listen, std::strerror(errno)));
  connections_->Use(evhttp_bound_socket_get_listener(bound));
  sockaddr_storage name{};
  socklen_t size = sizeof name;
  uint16_t port = address.port;
  if (getsockname(evhttp_bound_socket_get_fd(bound), reinterpret_cast<sockaddr*>(&name), &size) == 0) {
    port = ntohs(name.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6&>(name).sin6_port
                                            : reinterpret_cast<sockaddr_in&>(name).sin_port);
  }
  const bool six = address.host.find(':') != std::string::npos;
  url_ = fmt::format("{}://{}{}{}:{}", tls_ ? "https" : "http", six ? "[" : "", address.host, six ? "]" : "", port);
  return {};
}

void Server::Serve() {
  using Callback = event_callback_fn;
  const Callback on_news = [](evutil_socket_t, short, void* self) { static_cast<Server*>(self)->TakeNews(); };
  const Callback on_tick = [](evutil_socket_t, short, void* self) { static_cast<Server*>(self)->Tick(); };
  const Callback on_stop = [](evutil_socket_t, short, void* self) {
    auto& server = *static_cast<Server*>(self);
    server.events_->Bye();
    // What is written already still goes out.
    constexpr timeval kLastWords = {0, 100'000};
    event_base_loopexit(server.base_.get(), &kLastWords);
  };
  const std::unique_ptr<event, FreeEvent> news(
      event_new(base_.get(), hand_over_->NewsFd(), EV_READ | EV_PERSIST, on_news, this));
  const std::unique_ptr<event, FreeEvent> stop(event_new(base_.get(), stop_.get(), EV_READ, on_stop, this));
  const std::unique_ptr<event, FreeEvent> tick(event_new(base_.get(), -1, EV_PERSIST, on_tick, this));
  event_add(news.get(), nullptr);
  event_add(stop.get(), nullptr);
  event_add(tick.get(), &kTick);
  event_base_dispatch(base_.get());
  // Requests that wait for the loop are let go with what they wait for.
  questions_->Abandon();
  trials_.reset();
  connections_->Let();
  http_.reset();
}

void Server::TakeNews() {
  HandOver::News news = hand_over_->TakeNews();
  if (news.figures) figures_.Take(std::move(*news.figures));
  for (const proto::Event& event : news.events) {
    figures_.CountEvent(event);
    trials_->Seen(event);
    questions_->Seen(event.sequence());
  }
  // First, so that who is answered now is told of what happened before.
  events_->Add(news.events);
  for (HandOver::Answer& answer : news.answers) questions_->TakeAnswer(std::move(answer));
}

void Server::Tick() {
  questions_->Tick();
  events_->Tick();
  connections_->Tick();
}

void Server::Identify(Exchange& exchange) {
  std::string token;
  const std::string header = exchange.Header("Authorization");
  constexpr std::string_view kBearer = "Bearer ";
  constexpr std::string_view kCookie = "hone_session=";
  bool by_cookie = false;
  if (header.starts_with(kBearer)) token = header.substr(kBearer.size());
  if (header.empty()) {
    for (const std::string& part : Split(exchange.Header("Cookie"), ';')) {
      const std::string_view cookie = Trim(part);
      if (!cookie.starts_with(kCookie)) continue;
      token = cookie.substr(kCookie.size());
      by_cookie = true;
    }
  }
  exchange.asker = door_.Who(token);
  exchange.asker.by_cookie = by_cookie && !exchange.asker.anonymous;
}

// On the loopback a page of elsewhere may have made its name mean this machine: only names that mean it anyway are
// answered.
std::optional<Refusal> Server::RefuseHost(const Exchange& exchange) const {
  const std::string host = HostName(exchange.Header("Host"));
  if (!options_.loopback || options_.behind_proxy) return std::nullopt;
  if (host == "localhost" || host == "[::1]" || IsLoopbackHost(host)) return std::nullopt;
  return Refusal{421,
                 {ErrorCode::kDenied, fmt::format("nothing is served here under the name '{}'", Printable(host, 100)),
                  "Ask 127.0.0.1 or localhost."},
                 "host"};
}

// What changes something comes from our own page, or from no page at all.
std::optional<Refusal> Server::RefuseOrigin(const Exchange& exchange) const {
  const std::string site = exchange.Header("Sec-Fetch-Site");
  const std::string origin = exchange.Header("Origin");
  const size_t slashes = origin.find("://");
  const bool foreign =
      (!site.empty() && site != "same-origin" && site != "none") ||
      (!origin.empty() && (slashes == std::string::npos || origin.substr(slashes + 3) != exchange.Header("Host")));
  const bool unproved = exchange.asker.by_cookie && site.empty() && origin.empty();
  if (!foreign && !unproved) return std::nullopt;
  return Refusal{403,
                 {ErrorCode::kDenied, "this request comes from another site's page",
                  "Use the page of this coordinator, or a token in Authorization."},
                 "origin"};
}

std::optional<Refusal> Server::Refuse(Exchange& exchange, const HttpRoute& route) {
  const bool changes = route.method != EVHTTP_REQ_GET && route.method != EVHTTP_REQ_HEAD;
  if (changes) {
    if (auto refusal = RefuseOrigin(exchange)) return refusal;
  }
  const bool gave_token = !exchange.Header("Authorization").empty();
  if (route.access != HttpAccess::open && gave_token && exchange.asker.anonymous) {
    return Refusal{
        401, {ErrorCode::kDenied, "this token is not known", "`hone token create NAME` makes one."}, "unknown_token"};
  }
  if (May(exchange.asker, route.access, options_)) return std::nullopt;
  if (exchange.asker.anonymous) {
    return Refusal{
        401,
        {ErrorCode::kDenied, "this needs a token", "`hone token create NAME` makes one: Authorization: Bearer TOKEN."},
        "no_token"};
  }
  return Refusal{403,
                 {ErrorCode::kDenied,
                  fmt::format("the token of {} has the role {}, which may not do this", exchange.asker.name,
                              RoleName(exchange.asker.role)),
                  "The coordinator's administrator gives roles: `hone token create NAME --role ROLE`."},
                 "role"};
}

void Server::Answer(evhttp_request* request) {
  connections_->Began(request);
  const auto exchange = std::make_shared<Exchange>(request, [this](const Exchange& done, int status) {
    figures_.CountRequest(done.route, status, static_cast<double>(NowUs() - done.began_us) / 1e6);
  });
  exchange->began_us = NowUs();
  if (const auto read = exchange->Read(); !read) return exchange->Problem(read.error());
  if (const auto refusal = RefuseHost(*exchange)) {
    figures_.CountAuthFailure(refusal->counted);
    return exchange->Problem(refusal->status, refusal->error);
  }
  const evhttp_cmd_type method = evhttp_request_get_command(request);
  RouteMatch match = FindRoute(method, exchange->path());
  if (match.route == nullptr && !match.methods.empty()) {
    exchange->AddHeader("Allow", match.methods);
    return exchange->Problem(405, {ErrorCode::kUsage, fmt::format("this path takes {}", match.methods)});
  }
  if (match.route == nullptr)
    return exchange->Problem({ErrorCode::kNotFound, "there is no such path", "docs/openapi.yaml lists them."});
  exchange->route = match.route->pattern;
  exchange->parameters = std::move(match.parameters);
  Identify(*exchange);
  if (const auto refusal = Refuse(*exchange, *match.route)) {
    figures_.CountAuthFailure(refusal->counted);
    if (refusal->status == 401) exchange->AddHeader("WWW-Authenticate", "Bearer realm=\"hone\"");
    return exchange->Problem(refusal->status, refusal->error);
  }
  match.route->answer(*context_, exchange);
}

}  // namespace

Result<std::unique_ptr<HttpServer>> HttpServer::Start(HttpOptions options, int wake_loop, const Clock& clock) {
  TRY_ASSIGN(auto hand_over, HandOver::Make(wake_loop, clock));
  TRY_ASSIGN(FileStore artifacts, FileStore::Open(options.data / "artifacts"));
  Descriptor stop(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!stop) return Fail(ErrnoError("make", "an eventfd", errno));
  auto server =
      std::make_unique<Server>(std::move(options), std::move(hand_over), std::move(artifacts), clock, std::move(stop));
  TRY(server->Listen());
  server->Run();
  return std::unique_ptr<HttpServer>(std::move(server));
}

}  // namespace hone
