// A copy of a data folder's database to put away, and the list of the files that belong to it. docs/operations.md tells
// how to restore.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "common/base/result.h"

namespace hone {

struct BackupReport {
  std::filesystem::path folder;
  std::filesystem::path file;        // The database, a single file.
  std::filesystem::path list;        // `file` + ".artifacts": one path a line, relative to the folder.
  bool running = false;
  uint64_t database_bytes = 0;
  std::string digest;                // Of the database's copy.
  uint64_t jobs = 0;
  uint64_t artifacts = 0;
  uint64_t artifact_bytes = 0;
  uint64_t missing = 0;              // Artifacts that the database names and the folder lacks.
};

// Copies the database as it is at one moment, whether a coordinator runs on it or not, and writes the list. The copy's
// fencing tokens begin far above those that were ever given out, so that a report of work that was handed out after the
// backup fits no lease of a restored coordinator. Both files appear whole or not at all; an existing `file` is
// replaced. kNotFound, kRejected as Fsck; kExhausted.
Result<BackupReport> Backup(const std::filesystem::path& folder, const std::filesystem::path& file);

// The document of schema hone.backup/1.
std::string BackupJson(const BackupReport& report);

}  // namespace hone
