// Results that coordinators let each other have, found by what they are of: a measurement by its key and the machine's
// fingerprint, a build by its key. What comes from there is a stranger's word: the scheduler checks it as it checks a
// worker's report.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "proto/wire.pb.h"

namespace hone {

// Never waits for anybody; the answers come when they come, or never.
class ResultShare {
 public:
  virtual ~ResultShare() = default;

  // False: nobody can be asked now.
  virtual bool Ask(const std::string& key) = 0;
  struct Answer {
    std::string key;
    std::optional<proto::TaskResult> result;   // nullopt: nobody has it. The files of a build are in the store.
    std::string from;                          // The worker that made it, for people.
  };
  virtual std::vector<Answer> TakeAnswers() = 0;
  // What is durable here, made by this fleet's worker `from`.
  virtual void Offer(const std::string& key, const proto::TaskResult& result, const std::string& from) = 0;
};

}  // namespace hone
