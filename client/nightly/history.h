// The history of nightly runs: one SQLite file. docs/nightly.md tells its tables.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "client/nightly/record.h"
#include "common/base/result.h"
#include "common/sqlite/database.h"

namespace hone {

// One thread at a time; one process at a time writes (a second waits, then fails with kConflict).
class NightHistory {
 public:
  // Makes the file, or brings an older one to this program's schema (kept as FILE.schema-N).
  static Result<NightHistory> Open(const std::filesystem::path& file);

  // What is accepted for a model on a target; nullopt before the first.
  Result<std::optional<NightArtifact>> Accepted(const std::string& suite, const std::string& model,
                                                const std::string& target);
  // From now on. `reason` is kept with it.
  Result<> Accept(const std::string& suite, const std::string& model, const std::string& target,
                  const NightArtifact& artifact, const std::string& reason, int64_t unix_ms);
  // What was measured last, for accepting it.
  Result<> NoteTonight(const std::string& suite, const std::string& model, const std::string& target,
                       const NightArtifact& artifact, const std::string& night);
  Result<std::optional<NightArtifact>> Tonight(const std::string& suite, const std::string& model,
                                               const std::string& target);

  Result<> Save(const NightRecord& night);
  // "" = the last one. kNotFound.
  Result<NightRecord> Night(const std::string& suite, const std::string& id);
  Result<std::vector<std::string>> Nights(const std::string& suite);  // Oldest first.

  // Oldest first.
  Result<std::map<SeriesKey, std::vector<HistoryPoint>>> Series(const std::string& suite);
  // The fingerprint that the newest judged figures of a model on a target have; "" before any.
  Result<std::string> LastFingerprint(const std::string& suite, const std::string& model, const std::string& target);
  // Times of the canary on machines of that fingerprint in the last `most` nights of them.
  Result<std::vector<double>> Canaries(const std::string& suite, const std::string& fingerprint, int most);
  // Of every night: how often the accepted artifact against itself was called a finding.
  Result<AlarmRate> ControlAlarms(const std::string& suite);

  Result<> Annotate(const std::string& suite, const Annotation& annotation);
  Result<std::vector<Annotation>> Annotations(const std::string& suite);
  Result<> AddMute(const std::string& suite, const Mute& mute);
  Result<std::vector<Mute>> Mutes(const std::string& suite, int64_t now_unix_ms);  // Those that still hold.

  Result<std::vector<Alert>> OpenAlerts(const std::string& suite);
  Result<> SaveAlert(const std::string& suite, const Alert& alert);

  // Raw samples of nights before that; medians stay. How many series lost theirs.
  Result<uint64_t> DropSamples(int64_t before_unix_ms);

  // A copy in one file, and what of another's is not here yet.
  Result<> ExportTo(const std::filesystem::path& file);
  Result<uint64_t> ImportFrom(const std::filesystem::path& file);  // How many nights came.

 private:
  explicit NightHistory(Database database) : database_(std::move(database)) {}
  Result<> SaveResult(const NightRecord& night, const SeriesResult& result);
  Result<std::optional<NightArtifact>> FindArtifact(std::string_view sql, const std::string& suite,
                                                    const std::string& model, const std::string& target);
  Database database_;
};

}  // namespace hone
