// Programs that the owner of a worker lets it run as passes, declared in a file of that machine
// (docs/external_passes.md). Nothing that a job brings can add or change one: a job names a pass and gives it the
// parameters that are declared.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"
#include "proto/catalogue.pb.h"

namespace hone {

struct ExternalPass {
  proto::PassInfo info;              // Without a version until the program was asked for it.
  std::vector<std::string> command;  // [0] an absolute path, or a name to be found in /usr/bin and /bin.
  std::vector<std::string> version_command;
  std::vector<std::string> reads;  // Places that the program may read and execute, beside the system's.
  std::map<std::string, std::string> environment;
  std::string main;                   // The file to open among those that the program leaves; "" for a folder.
  std::vector<std::string> tags;      // That the machine has where the program is there.
  std::chrono::milliseconds time{0};  // 0: the task's own limit alone.
  uint64_t memory_bytes = 0;          // 0: the task's own limit alone.
  std::string declaration;            // What it says, for digests.
  bool available = false;             // Its version was told.
};

// The environment variable that names the file for a worker's children.
inline constexpr char kExternalPassesVariable[] = "HONE_PASSES";

// The declarations of a text. kConfiguration with file, line and column; relative paths are beside `file`.
Result<std::vector<ExternalPass>> ParseExternalPasses(std::string_view text, const std::filesystem::path& file);

// Reads the file for this process and those it forks; "" forgets all. Before any thread exists.
Result<> LoadExternalPasses(const std::filesystem::path& file);
// Runs the version commands, of one pass where it is named: a pass whose program does not tell a version is not
// available. Returns what went wrong, a line each.
std::vector<std::string> ProbeExternalPasses(std::string_view only = {});
const std::vector<ExternalPass>& ExternalPasses();
// An available pass; nullptr if there is none of that name.
const ExternalPass* FindExternalPass(std::string_view name);

}  // namespace hone
