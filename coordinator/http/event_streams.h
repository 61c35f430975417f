// Server-sent events: what the loop tells goes to every open stream, from one list in memory. A stream has no queue of
// its own but its place in that list: a reader that falls behind it is told of a gap, and costs nothing.
#pragma once

#include <event2/http.h>

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>

#include "common/base/clock.h"
#include "common/results/messages.h"
#include "coordinator/http/exchange.h"
#include "coordinator/http/questions.h"
#include "proto/wire.pb.h"

namespace hone {

// The server's thread alone.
class EventStreams {
 public:
  EventStreams(Questions& questions, const Clock& clock, size_t most)
      : questions_(questions), clock_(clock), most_(most) {}
  ~EventStreams();

  // Events of a job (0: of all and the fleet) after a number; nullopt: from now on. Answers with 503 where too many are
  // open.
  void Open(Exchange& exchange, uint64_t job, std::optional<uint64_t> after);
  void Add(const std::vector<proto::Event>& events);
  // Several times a second: heartbeats, and readers that were behind.
  void Tick();
  // The last words; each stream ends.
  void Bye();

  uint64_t last() const { return last_; }
  size_t open() const { return streams_.size(); }
  uint64_t dropped() const { return dropped_; }

 private:
  struct Stream {
    EventStreams* owner = nullptr;
    uint64_t id = 0;
    evhttp_request* request = nullptr;
    uint64_t job = 0;
    uint64_t place = 0;  // The last event that it was told, or that is none of its.
    int64_t written_ms = 0;
    bool reading = false;  // Its past is being read from the database.
  };
  struct Told {
    uint64_t sequence = 0;
    uint64_t job = 0;
    std::string text;  // As it is sent.
  };
  static void OnClosed(evhttp_connection* connection, void* stream);
  void Pump(Stream& stream);
  void ReadPast(Stream& stream);
  void Write(Stream& stream, std::string_view text);
  size_t Unsent(const Stream& stream) const;

  Questions& questions_;
  const Clock& clock_;
  const size_t most_;
  std::map<uint64_t, std::unique_ptr<Stream>> streams_;
  std::deque<Told> told_;
  size_t told_bytes_ = 0;
  uint64_t last_ = 0;
  uint64_t forgotten_ = 0;  // Events up to that one are not in the list.
  bool begun_ = false;
  uint64_t ids_ = 0;
  uint64_t dropped_ = 0;
};

}  // namespace hone
