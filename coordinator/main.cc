// hone-coordinator: keeps jobs, hands out work, stores results.
#include <sys/stat.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include "common/base/strings.h"
#include "coordinator/folder_commands.h"
#include "coordinator/server.h"

namespace {

constexpr int kUsage = 2;

int Run(int argc, char** argv) {
  if (const auto code = hone::RunFolderCommand({argv + 1, argv + argc})) return *code;
  hone::ServerOptions options;
  options.listen = "tcp://127.0.0.1:5710";
  std::string level = "info";
  std::string redis;
  std::string redis_password_file;
  std::string reserve = "64MiB";
  CLI::App app("Keeps jobs, hands out work to workers, stores results.", "hone-coordinator");
  app.set_version_flag("--version", HONE_VERSION);
  app.add_option("--listen", options.listen, "Where to listen: tcp://host:port (port 0: a free one) or ipc://path")
      ->capture_default_str();
  app.add_option("--data", options.coordinator.data, "Folder for the database and the artifacts")->required();
  app.add_option("--keys", options.keys,
                 "The folder with this coordinator's keys and the list of those it lets in (hone keys)")
      ->envname("HONE_KEYS");
  app.add_option("--http", options.http.listen,
                 "Where the API and the dashboard are served: ADDRESS:PORT, as 127.0.0.1:5780 (port 0: a free one); "
                 "not at all without it");
  app.add_flag("--http-behind-proxy", options.http.behind_proxy,
               "A proxy in front does TLS: plain HTTP off the loopback too, every question with a token");
  app.add_option("--http-tls-cert", options.http.tls_certificate, "PEM file with the certificate and its chain");
  app.add_option("--http-tls-key", options.http.tls_key, "PEM file with its key");
  app.add_option("--http-tokens", options.http.tokens, "The list of tokens (hone token); else DIR/tokens of --data");
  app.add_option("--nightly", options.http.nightly,
                 "The history of nightly runs that is shown (hone nightly --history)");
  app.add_option("--ready-file", options.ready_file,
                 "Written once requests are served: {\"endpoint\": ..., \"pid\": ..., \"http\": ...}");
  app.add_option("--redis", redis,
                 "Publish events to a Redis and share results through it: redis://[user[:password]@]host[:port][/db] "
                 "or unix:///path[?db=N]");
  app.add_option("--redis-password-file", redis_password_file,
                 "Holds its password (mode 0600), which then is on no command line");
  app.add_option("--lease-ms", options.coordinator.lease_ms, "A worker silent for this long has lost its work")
      ->check(CLI::Range(200u, 3'600'000u))
      ->capture_default_str();
  app.add_option("--reserve", reserve, "Room kept on the disk of --data for results when it is full; 0: none")
      ->capture_default_str();
  app.add_option("--log-level", level, "What is logged to stderr")
      ->check(CLI::IsMember({"debug", "info", "warn", "error", "off"}))
      ->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kUsage;
  }
  const auto reserve_bytes = hone::ParseBytes(reserve);
  if (!reserve_bytes) {
    std::fprintf(stderr, "hone-coordinator: --reserve: %s\n", reserve_bytes.error().message.c_str());
    return kUsage;
  }
  options.coordinator.reserve_bytes = *reserve_bytes;
  if (!redis.empty()) {
    auto address = hone::ParseRedisUrl(redis, redis_password_file);
    if (!address) {
      std::fprintf(stderr, "hone-coordinator: %s\n  %s\n", address.error().message.c_str(),
                   address.error().remedy.c_str());
      return hone::ExitCode(address.error().code);
    }
    options.redis = std::move(*address);
  }
  options.coordinator.heartbeat_ms = std::min(options.coordinator.heartbeat_ms, options.coordinator.lease_ms / 4);
  spdlog::set_default_logger(spdlog::stderr_color_mt("hone-coordinator"));
  spdlog::set_level(spdlog::level::from_str(level));
  // Models and data of others stay theirs.
  ::umask(0077);
  const auto served = hone::Serve(options, hone::SystemClock());
  if (served) return 0;
  const hone::Error& error = served.error();
  std::fprintf(stderr, "hone-coordinator: %s\n", error.message.c_str());
  if (!error.remedy.empty()) std::fprintf(stderr, "  %s\n", error.remedy.c_str());
  return hone::ExitCode(error.code);
}

}  // namespace

int main(int argc, char** argv) { return Run(argc, argv); }
