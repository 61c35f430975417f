#include "coordinator/http/connections.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/listener.h>
#include <fmt/format.h>
#include <openssl/err.h>
#include <sys/socket.h>

#include <array>

namespace hone {
namespace {

std::string TlsReason() {
  std::array<char, 256> text{};
  ERR_error_string_n(ERR_get_error(), text.data(), text.size());
  return text.data();
}

// The server takes its callbacks away when it lets go of a connection.
bool LetGo(bufferevent* connection) {
  bufferevent_data_cb read = nullptr, write = nullptr;
  bufferevent_event_cb event = nullptr;
  void* argument = nullptr;
  bufferevent_getcb(connection, &read, &write, &event, &argument);
  return event == nullptr;
}

}  // namespace

Result<Tls> LoadTls(const std::filesystem::path& certificate, const std::filesystem::path& key) {
  Tls context(SSL_CTX_new(TLS_server_method()));
  const auto bad = [](const std::filesystem::path& file) {
    return Fail(ErrorCode::kConfiguration, fmt::format("{}: {}", file.string(), TlsReason()),
                "Give --http-tls-cert and --http-tls-key PEM files that fit.");
  };
  if (!context) return bad(certificate);
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  SSL_CTX_set_options(context.get(), SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE);
  if (SSL_CTX_use_certificate_chain_file(context.get(), certificate.c_str()) != 1) return bad(certificate);
  if (SSL_CTX_use_PrivateKey_file(context.get(), key.c_str(), SSL_FILETYPE_PEM) != 1) return bad(key);
  if (SSL_CTX_check_private_key(context.get()) != 1) return bad(key);
  return context;
}

Connections::Connections(evhttp* http, SSL_CTX* tls, const Clock& clock, Limits limits)
    : tls_(tls), clock_(clock), limits_(limits) {
  evhttp_set_bevcb(http, &Connections::Make, this);
}

Connections::~Connections() { Let(); }

void Connections::Let() {
  for (const auto& [connection, state] : open_) bufferevent_decref(connection);
  open_.clear();
}

bufferevent* Connections::Make(event_base* base, void* self) {
  auto& connections = *static_cast<Connections*>(self);
  bufferevent* connection = connections.tls_ != nullptr
                                ? bufferevent_openssl_socket_new(base, -1, SSL_new(connections.tls_),
                                                                 BUFFEREVENT_SSL_ACCEPTING, BEV_OPT_CLOSE_ON_FREE)
                                : bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
  if (connection == nullptr) return nullptr;
  if (connections.tls_ != nullptr) bufferevent_openssl_set_allow_dirty_shutdown(connection, 1);
  bufferevent_incref(connection);
  connections.open_[connection] = {&connections, connections.clock_.SteadyMs(), false};
  if (connections.open_.size() >= connections.limits_.connections && connections.accepting_ &&
      connections.listener_ != nullptr) {
    // Others wait at the door until one goes.
    evconnlistener_disable(connections.listener_);
    connections.accepting_ = false;
  }
  return connection;
}

void Connections::Began(evhttp_request* request) {
  evhttp_connection* connection = evhttp_request_get_connection(request);
  if (connection == nullptr) return;
  const auto found = open_.find(evhttp_connection_get_bufferevent(connection));
  if (found == open_.end()) return;
  found->second.answering = true;
  evhttp_request_set_on_complete_cb(request, &Connections::OnComplete, this);
}

void Connections::OnComplete(evhttp_request* request, void* self) {
  auto& connections = *static_cast<Connections*>(self);
  evhttp_connection* connection = evhttp_request_get_connection(request);
  if (connection == nullptr) return;
  const auto found = connections.open_.find(evhttp_connection_get_bufferevent(connection));
  if (found == connections.open_.end()) return;
  found->second.answering = false;
  found->second.since_ms = connections.clock_.SteadyMs();
}

void Connections::Tick() {
  const int64_t now = clock_.SteadyMs();
  for (auto it = open_.begin(); it != open_.end();) {
    bufferevent* connection = it->first;
    if (LetGo(connection)) {
      it = open_.erase(it);
      bufferevent_decref(connection);
      continue;
    }
    if (!it->second.answering && now - it->second.since_ms > limits_.request_ms) {
      // The server sees its end and frees it.
      ::shutdown(bufferevent_getfd(connection), SHUT_RDWR);
    }
    ++it;
  }
  if (!accepting_ && open_.size() < limits_.connections) {
    evconnlistener_enable(listener_);
    accepting_ = true;
  }
}

}  // namespace hone
