// Reports that the coordinator has not acknowledged yet, kept on disk so that neither a lost connection nor a restart
// of the worker loses a finished piece of work.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>

#include "common/base/result.h"
#include "proto/wire.pb.h"

namespace hone {

// folder/<lease>.pb, one proto::Report each. One thread at a time.
class Spool {
 public:
  // Reads what an earlier process left. A file that is no report is set aside as <name>.bad.
  static Result<Spool> Open(const std::filesystem::path& folder);

  // Durable when it returns. Where the disk refuses, the report is still kept in memory and the error tells.
  Result<> Keep(const proto::Report& report);
  void Forget(uint64_t lease);
  bool Holds(uint64_t lease) const { return reports_.contains(lease); }
  const std::map<uint64_t, proto::Report>& reports() const { return reports_; }

 private:
  explicit Spool(std::filesystem::path folder) : folder_(std::move(folder)) {}
  std::filesystem::path PathOf(uint64_t lease) const;

  std::filesystem::path folder_;
  std::map<uint64_t, proto::Report> reports_;
};

}  // namespace hone
