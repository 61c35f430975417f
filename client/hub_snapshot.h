// A checkpoint as the cache of Hugging Face's hub keeps it: NAME/snapshots/REVISION holds links to files of NAME/blobs.
#pragma once

#include <filesystem>

#include "common/base/file.h"
#include "common/base/result.h"

namespace hone {

// Whether the folder is a revision in such a cache.
bool IsHubSnapshot(const std::filesystem::path& folder);

// The files of the revision that make a checkpoint, as plain files in a folder that goes with the result: hard links
// where the cache is on the file system of the person's own one ($XDG_CACHE_HOME, else ~/.cache), else copies in the
// folder for temporary files. kRejected for a link that leads elsewhere than to a blob.
Result<ScopedFolder> PlainSnapshot(const std::filesystem::path& folder);

}  // namespace hone
