// What hone-coordinator does with a data folder besides serving: `hone-coordinator fsck DIR` and `hone-coordinator backup DIR -o FILE`. `hone
// fsck` and `hone backup` run them, because the client links no SQLite.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace hone {

// Runs the command that `words` (without the program's name) begin with: one JSON document on stdout, hone.error/1 where it could not be
// done. The value is the exit code; nullopt where the words are no such command.
std::optional<int> RunFolderCommand(const std::vector<std::string>& words);

}  // namespace hone
