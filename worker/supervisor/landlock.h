// The kernel's Landlock, by its system calls: which files a process and all it starts may touch, for good.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "common/base/open_file.h"
#include "common/base/result.h"

namespace hone {

// What the kernel offers: 0 none, 1 files, 2 links between folders, 3 truncation, 4 TCP, 5 device controls, 6 signals
// and abstract sockets.
int LandlockAbi();

// The files that a process may touch. Places are opened when they are added, so what stands under their names later
// changes nothing; a place that is not there is left out.
class FileView {
 public:
  enum class Access { read, write, device, program };
  struct Grant {
    Descriptor place;       // O_PATH
    Access access;
    bool folder;
  };

  // A file, or a folder with all beneath it; links on the way are followed.
  void Read(const std::filesystem::path& place);
  // A file beneath a folder; no part of the relative path may be a link.
  void ReadBeneath(const std::filesystem::path& folder, const std::string& relative);
  // A folder: all beneath it may be read, made, changed and removed.
  void Write(const std::filesystem::path& folder);
  // A device node, or a folder of them: read, written, and controlled.
  void Device(const std::filesystem::path& node);

  // A file, or a folder with all beneath it, to read and to execute.
  void Execute(const std::filesystem::path& place);

  const std::vector<Grant>& grants() const { return grants_; }
  bool HasPrograms() const;

 private:
  void Add(Descriptor place, Access access);
  std::vector<Grant> grants_;
};

enum class Signals { anywhere, own };   // own: none to processes outside (from ABI 6 on), nor to abstract sockets.

// Confines the calling thread and what it starts to the view; executes nothing but programs of the view, binds and
// connects no TCP socket (from ABI 4 on). Needs PR_SET_NO_NEW_PRIVS. kEnvironment where the kernel refuses.
Result<> RestrictFiles(const FileView& view, Signals signals);

}  // namespace hone
