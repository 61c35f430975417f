// What hone-coordinator does besides serving: `hone-coordinator fsck DIR`, `hone-coordinator backup DIR -o FILE` and
// `hone-coordinator redis URL`. `hone fsck`, `hone backup` and `hone doctor` run them, because the client links neither
// SQLite nor hiredis.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace hone {

// Runs the command that `words` (without the program's name) begin with: one JSON document on stdout, hone.error/1
// where it could not be done. The value is the exit code; nullopt where the words are no such command.
std::optional<int> RunFolderCommand(const std::vector<std::string>& words);

}  // namespace hone
