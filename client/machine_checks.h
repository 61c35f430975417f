// What of a machine disturbs measurements or starves searches, read from the kernel's files.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace hone {

enum class Health { ok, warning, fault, skipped };
const char* HealthName(Health health);

struct Finding {
  std::string check;
  Health health = Health::ok;
  std::string detail;
  std::string remedy;      // "" where there is nothing to do.
};

// From the files beneath `root` ("/" on a real machine): processor, quota, governor, boost, heat, steal, memory, swap,
// load, clock, nodes. A file that is not there says nothing.
std::vector<Finding> CheckMachineFiles(const std::filesystem::path& root);

}  // namespace hone
