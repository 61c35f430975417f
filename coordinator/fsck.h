// Does a data folder hold what was promised? The eight invariants of docs/operations.md, checked on one snapshot of the
// database by a connection that only reads, and on the files that the database names. A coordinator may run on the
// folder meanwhile.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "coordinator/options.h"

namespace hone {

struct FsckOptions {
  bool quick = false;  // Sizes of artifacts instead of their hashes; the b-trees of the database without their indexes.
  std::filesystem::path log;         // What clients and workers were told, one JSON object a line; empty: none.
  CoordinatorOptions limits;         // The bounds on attempts and the lease time that the coordinator ran with.
};

struct FsckFault {
  std::string row;                   // "trial 3 of job 1 (study 0)", "attempt 17", "artifact sha256:..."
  std::string message;
  std::string remedy;
};

struct FsckCheck {
  std::string id;                    // "I1" ... "I8"
  std::string name;
  uint64_t checked = 0;              // Rows or files looked at.
  std::vector<FsckFault> violations; // The first hundred.
  uint64_t more = 0;                 // Violations beyond those.
};

struct FsckReport {
  std::filesystem::path folder;
  bool running = false;              // A coordinator has the folder.
  int64_t schema_version = 0;
  bool quick = false;
  std::vector<std::string> open_attempts;  // Leases that had not ended; the first hundred.
  std::vector<FsckCheck> checks;
  int64_t wall_ms = 0;

  bool ok() const;
};

// Checks everything that can be read; a part that cannot is a violation of its own. Changes nothing. kNotFound: there
// is no such folder. kRejected: it is none of hone-coordinator's, or of a newer one. An older schema is checked on a
// copy brought up to date.
Result<FsckReport> Fsck(const std::filesystem::path& folder, const FsckOptions& options);

// The document of schema hone.fsck/1.
std::string FsckJson(const FsckReport& report);

// What a data folder is, seen from outside.
struct FolderState {
  std::filesystem::path
      folder;  // The one that holds hone.db: the given one, or the state that `hone optimize -o` left in it.
  bool running = false;
  int64_t schema_version = 0;
};
// kNotFound, kRejected as Fsck.
Result<FolderState> LookAt(const std::filesystem::path& folder);

// Where the file of an artifact lies in a data folder; empty for what is no digest.
std::filesystem::path ArtifactPath(const std::filesystem::path& folder, const std::string& digest);

}  // namespace hone
