// Results and artifacts in a Redis, for the coordinators that use the same one.
//
//   hone:result:<key>       a measurement or a build: a line with the digest of the rest and the worker's name, then a
//   proto::TaskResult hone:artifact:<digest>  the bytes of a file of a built model
//
// Both are gone a week after they were written. A thread of its own speaks to Redis; what it reads has a bound, must
// have the digest that it says (of key and content, so that nothing stands under another's key) and parse. A file must
// have the digest that it is named by. What does not is as if it were not there.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "common/artifact/file_store.h"
#include "coordinator/redis/connection.h"
#include "coordinator/result_share.h"

namespace hone {

struct RedisShareOptions {
  size_t questions = 1000;                               // That wait for an answer; more are not asked.
  size_t offers = 1000;                                  // That wait to be written; beyond that the oldest are dropped.
  uint64_t record_bytes = 1 << 20;                       // Of one result.
  uint64_t file_bytes = 64 << 20;          // Of one file; larger ones are not shared, nor builds that have one.
  std::chrono::milliseconds patience{50};  // A question unanswered for so long: no other is asked until it is.
  std::chrono::milliseconds timeout{1000};
  std::chrono::milliseconds longest_back_off{5000};
};

// What stands under hone:result:<key>; nullopt: it is no record of ours under this key.
std::optional<ResultShare::Answer> ParseSharedRecord(const std::string& key, std::string_view record);
std::string SharedRecordOf(const std::string& key, const proto::TaskResult& result, const std::string& from);

// Thread-safe.
class RedisShare final : public ResultShare {
 public:
  // `artifacts`: the folder of the coordinator's store, into which files of builds come.
  static Result<std::unique_ptr<RedisShare>> Start(RedisAddress address, const std::filesystem::path& artifacts,
                                                   const RedisShareOptions& options = {});
  // Ends within about two time-outs; what waits then is lost.
  ~RedisShare() override;

  bool Ask(const std::string& key) override;
  std::vector<Answer> TakeAnswers() override;
  void Offer(const std::string& key, const proto::TaskResult& result, const std::string& from) override;

  struct State {
    bool connected = false;
    uint64_t asked = 0, found = 0;
    size_t waiting = 0;            // Questions without an answer.
    uint64_t unsound = 0;          // Records and files that were not what they should be.
    uint64_t offered = 0;          // Written.
    std::string error;             // The last one; "" while connected.
  };
  State state() const;

 private:
  using Clock = std::chrono::steady_clock;
  struct Question {
    std::string key;
    Clock::time_point asked;
  };
  struct Offered {
    std::string key;
    std::string record;
    std::vector<proto::File> files;
  };

  RedisShare(RedisAddress address, FileStore artifacts, const RedisShareOptions& options)
      : address_(std::move(address)), options_(options), artifacts_(std::move(artifacts)) {}
  void Run();
  // Until the connection fails or the thread shall end.
  Result<> Serve(RedisConnection& connection);
  Result<Answer> Look(RedisConnection& connection, const std::string& key);
  // Whether all files of the model are in the store now.
  Result<bool> Fetch(RedisConnection& connection, const proto::Bundle& model);
  Result<bool> FetchFile(RedisConnection& connection, const proto::File& file);
  Result<> Write(RedisConnection& connection, const Offered& offered);
  // False: the file is not in the store.
  Result<bool> WriteFile(RedisConnection& connection, const proto::File& file);
  void NoteFailure(const Error& error);
  // What is under the key is not what it should be: it is counted, told and taken away.
  Result<> DropUnsound(RedisConnection& connection, const std::string& key);

  const RedisAddress address_;
  const RedisShareOptions options_;
  FileStore artifacts_;            // The thread's.

  mutable std::mutex mutex_;       // Guards what follows.
  std::condition_variable wake_;
  std::deque<Question> questions_;
  std::deque<Offered> offers_;
  std::vector<Answer> answers_;
  bool stop_ = false;
  State state_;

  std::thread thread_;
};

}  // namespace hone
