// How much a folder that somebody else is writing to holds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>

namespace hone {

struct FolderUse {
  uint64_t bytes = 0;      // As the disk counts them: blocks, folders included; a sparse file's holes are free.
  uint64_t entries = 0;
  bool complete = true;    // Not: there are more than max_entries, or it is nested deeper than 100 folders.
};

// Follows no links. A folder that is not there holds nothing.
FolderUse MeasureFolder(const std::filesystem::path& folder, uint64_t max_entries);

}  // namespace hone
