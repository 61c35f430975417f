// Opening, transactions, workers, artifacts and events. Jobs, trials and attempts have files of their own.
#include "coordinator/store.h"

#include <fmt/format.h>
#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "coordinator/schema.h"

namespace hone {

std::string ToJson(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  std::string text;
  const auto status = google::protobuf::util::MessageToJsonString(message, &text, options);
  CHECK_THAT(status.ok());
  return text;
}

std::string JsonMemory::Of(const google::protobuf::Message& message) {
  constexpr size_t kMaxBytes = 16 << 20;
  std::string key = message.GetTypeName() + '\n' + message.SerializeAsString();
  const auto found = known_.find(key);
  if (found != known_.end()) return found->second;
  std::string text = ToJson(message);
  bytes_ += key.size() + text.size();
  if (bytes_ > kMaxBytes) {
    known_.clear();
    bytes_ = key.size() + text.size();
  }
  known_.emplace(std::move(key), text);
  return text;
}

Result<> FromJson(const std::string& text, google::protobuf::Message* message) {
  // Fields that a newer program wrote are left out rather than fatal: migrations say what must be understood.
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = true;
  const auto status = google::protobuf::util::JsonStringToMessage(text, message, options);
  if (status.ok()) return {};
  return Fail(ErrorCode::kConfiguration,
              fmt::format("the database holds a broken {}: {}", message->GetTypeName(), status.message().as_string()));
}

std::string ToJson(const std::vector<std::string>& texts) {
  return nlohmann::json(texts).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

Result<std::vector<std::string>> TextsFromJson(const std::string& text) {
  const auto json = nlohmann::json::parse(text, nullptr, false);
  std::vector<std::string> texts;
  bool good = json.is_array();
  for (size_t i = 0; good && i < json.size(); ++i) {
    good = json[i].is_string();
    if (good) texts.push_back(json[i].get<std::string>());
  }
  if (!good)
    return Fail(ErrorCode::kConfiguration, fmt::format("the database holds '{}' where a list of texts belongs", text));
  return texts;
}

Result<Store> Store::Open(const std::filesystem::path& file, uint64_t quick_check_bytes) {
  std::error_code missing;
  const uint64_t size = std::filesystem::file_size(file, missing);
  TRY_ASSIGN(Database database, Database::Open(file));
  if (!missing && size > 0 && size <= quick_check_bytes) {
    std::string verdict;
    TRY(database.Each("PRAGMA quick_check(1)", [&](const Row& row) { verdict = row.Text(0); }));
    if (verdict != "ok") {
      return Fail(ErrorCode::kConfiguration, fmt::format("{} is damaged: {}", file.string(), verdict),
                  "Restore it from a backup, or start with another --data folder.");
    }
  }
  TRY(Migrate(database, Migrations()));
  return Store(std::move(database));
}

Result<> Store::Begin() { return database_.Run("BEGIN"); }
Result<> Store::Commit() { return database_.Run("COMMIT"); }
void Store::Rollback() {
  fingerprints_.clear();
  if (InTransaction()) (void)database_.Run("ROLLBACK");
}
Result<> Store::Savepoint() { return database_.Run("SAVEPOINT piece"); }
Result<> Store::ReleaseSavepoint() { return database_.Run("RELEASE piece"); }
Result<> Store::RollbackToSavepoint() {
  fingerprints_.clear();
  TRY(database_.Run("ROLLBACK TO piece"));
  return database_.Run("RELEASE piece");
}

Result<> Store::LimitPages(int64_t pages) {
  return database_.Script(fmt::format("PRAGMA max_page_count={}", pages == 0 ? 0xfffffffeLL : pages));
}

Result<int64_t> Store::Pages() {
  int64_t pages = 0;
  TRY(database_.Each("PRAGMA page_count", [&](const Row& row) { pages = row.Int(0); }));
  return pages;
}

Result<> Store::SaveWorker(const WorkerRecord& worker) {
  return database_.Run(
      "INSERT INTO workers (name, session, tags, catalogue, slots, draining, fingerprint, first_seen_unix_ms, "
      "last_seen_unix_ms) "
      "VALUES (?,?,?,?,?,?,?,?,?) ON CONFLICT (name) DO UPDATE SET session=excluded.session, tags=excluded.tags, "
      "catalogue=excluded.catalogue, slots=excluded.slots, draining=excluded.draining, "
      "fingerprint=excluded.fingerprint, "
      "last_seen_unix_ms=excluded.last_seen_unix_ms",
      worker.name, worker.session, ToJson(worker.tags), ToJson(worker.catalogue), worker.slots, worker.draining,
      worker.catalogue.fingerprint().digest(), worker.first_seen_unix_ms, worker.last_seen_unix_ms);
}

Result<> Store::SaveSeen(const std::string& worker, int64_t unix_ms) {
  return database_.Run("UPDATE workers SET last_seen_unix_ms=? WHERE name=?", unix_ms, worker);
}

Result<> Store::SaveDraining(const std::string& worker, bool draining) {
  return database_.Run("UPDATE workers SET draining=? WHERE name=?", draining, worker);
}

Result<std::vector<WorkerRecord>> Store::Workers() {
  std::vector<WorkerRecord> workers;
  std::vector<std::pair<std::string, std::string>> texts;
  TRY(
      database_.Each("SELECT name, session, slots, draining, first_seen_unix_ms, last_seen_unix_ms, tags, catalogue "
                     "FROM workers ORDER BY name",
                     [&](const Row& row) {
                       WorkerRecord& worker = workers.emplace_back();
                       worker.name = row.Text(0);
                       worker.session = row.Text(1);
                       worker.slots = static_cast<uint32_t>(row.Int(2));
                       worker.draining = row.Int(3) != 0;
                       worker.first_seen_unix_ms = row.Int(4);
                       worker.last_seen_unix_ms = row.Int(5);
                       texts.emplace_back(row.Text(6), row.Text(7));
                     }));
  for (size_t i = 0; i < workers.size(); ++i) {
    TRY_ASSIGN(workers[i].tags, TextsFromJson(texts[i].first));
    TRY(FromJson(texts[i].second, &workers[i].catalogue));
  }
  return workers;
}

Result<> Store::SaveFingerprint(const proto::Fingerprint& fingerprint, int64_t unix_ms) {
  if (fingerprint.digest().empty() || fingerprints_.contains(fingerprint.digest())) return {};
  TRY(database_.Run("INSERT OR IGNORE INTO fingerprints VALUES (?,?,?,?,?,?,?,?,?)", fingerprint.digest(),
                    fingerprint.cpu_model(), fingerprint.cores_allowed(), fingerprint.memory_bytes(),
                    fingerprint.governor(), fingerprint.kernel(), fingerprint.hostname(), ToJson(fingerprint),
                    unix_ms));
  fingerprints_.insert(fingerprint.digest());
  return {};
}

Result<std::optional<proto::Fingerprint>> Store::FindFingerprint(const std::string& digest) {
  std::optional<std::string> text;
  TRY(database_.Each(
      "SELECT detail FROM fingerprints WHERE digest = ?", [&](const Row& row) { text = row.Text(0); }, digest));
  if (!text) return std::optional<proto::Fingerprint>();
  proto::Fingerprint fingerprint;
  TRY(FromJson(*text, &fingerprint));
  return std::optional(std::move(fingerprint));
}

Result<> Store::NoteArtifact(const std::string& digest, uint64_t size_bytes, int64_t unix_ms) {
  return database_.Run("INSERT OR IGNORE INTO artifacts VALUES (?,?,?)", digest, size_bytes, unix_ms);
}

Result<> Store::NoteBundle(const proto::Bundle& bundle, int64_t unix_ms) {
  for (const proto::File& file : bundle.files()) TRY(NoteArtifact(file.digest(), file.size_bytes(), unix_ms));
  return {};
}

Result<uint64_t> Store::AppendEvent(const TrialKey& about, std::string_view kind, const std::string& text,
                                    int64_t unix_ms) {
  TRY(database_.Run("INSERT INTO events (job, study, trial, unix_ms, kind, text) VALUES (?,?,?,?,?,?)", about.job,
                    about.study, about.trial, unix_ms, kind, text));
  return static_cast<uint64_t>(database_.LastId());
}

Result<std::vector<proto::Event>> Store::Events(uint64_t job, uint64_t after, uint32_t limit) {
  std::vector<proto::Event> events;
  const auto add = [&](const Row& row) {
    proto::Event& event = events.emplace_back();
    event.set_sequence(row.Unsigned(0));
    event.set_job(row.Unsigned(1));
    event.set_study(static_cast<uint32_t>(row.Int(2)));
    event.set_trial(row.Unsigned(3));
    event.set_unix_ms(row.Unsigned(4));
    event.set_kind(row.Text(5));
    event.set_text(row.Text(6));
  };
  if (job == 0) {
    TRY(
        database_.Each("SELECT sequence, job, study, trial, unix_ms, kind, text FROM events WHERE sequence > ? ORDER "
                       "BY sequence LIMIT ?",
                       add, after, limit));
  } else {
    TRY(database_.Each(
        "SELECT sequence, job, study, trial, unix_ms, kind, text FROM events WHERE job = ? AND sequence > ? "
        "ORDER BY sequence LIMIT ?",
        add, job, after, limit));
  }
  return events;
}

Result<> Store::DropOldEvents(uint64_t keep) {
  constexpr uint64_t kEventsPerCall = 5000;
  TRY_ASSIGN(const uint64_t last, LastEvent(0));
  TRY_ASSIGN(const uint64_t dropped, EventsDropped());
  if (last <= dropped + keep) return {};
  const uint64_t until = std::min(last - keep, dropped + kEventsPerCall);
  TRY(database_.Run("DELETE FROM events WHERE sequence <= ?", until));
  return database_.Run("UPDATE counters SET value = ? WHERE name = 'events_dropped'", until);
}

Result<uint64_t> Store::EventsDropped() {
  uint64_t dropped = 0;
  TRY(database_.Each("SELECT value FROM counters WHERE name = 'events_dropped'",
                     [&](const Row& row) { dropped = row.Unsigned(0); }));
  return dropped;
}

Result<bool> Store::HasFirstEvent(uint64_t job) {
  bool kept = false;
  TRY(database_.Each("SELECT kind = 'job.submitted' FROM events WHERE job = ? ORDER BY sequence LIMIT 1",
                     [&](const Row& row) { kept = row.Int(0) != 0; }, job));
  return kept;
}

Result<uint64_t> Store::LastEvent(uint64_t job) {
  uint64_t last = 0;
  const auto read = [&](const Row& row) { last = row.Unsigned(0); };
  if (job == 0) {
    TRY(database_.Each("SELECT coalesce(max(sequence), 0) FROM events", read));
  } else {
    TRY(database_.Each("SELECT coalesce(max(sequence), 0) FROM events WHERE job = ?", read, job));
  }
  return last;
}

}  // namespace hone
