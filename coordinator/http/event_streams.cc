#include "coordinator/http/event_streams.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace hone {
namespace {

constexpr size_t kToldMost = 50'000;
constexpr size_t kToldBytes = 32 << 20;
// What may lie unsent before a stream has to wait.
constexpr size_t kUnsent = 128 << 10;
constexpr uint32_t kPastPage = 500;
constexpr int64_t kHeartbeatMs = 15'000;
constexpr timeval kStalled = {60, 0};  // A reader that takes nothing for so long is gone.

std::string TextOf(const proto::Event& event) {
  return fmt::format("id: {}\nevent: {}\ndata: {}\n\n", event.sequence(), event.kind(),
                     EventJson(event).dump(-1, ' ', false, Json::error_handler_t::replace));
}

bool IsFor(uint64_t job, uint64_t events_job) { return job == 0 || job == events_job; }

}  // namespace

EventStreams::~EventStreams() { Bye(); }

void EventStreams::Open(Exchange& exchange, uint64_t job, std::optional<uint64_t> after) {
  if (streams_.size() >= most_) {
    return exchange.Problem({ErrorCode::kUnreachable,
                             fmt::format("{} event streams are open, more are not served", streams_.size()),
                             "Ask with Accept: application/json now and then."});
  }
  auto stream = std::make_unique<Stream>();
  stream->owner = this;
  stream->id = ++ids_;
  stream->job = job;
  stream->place = std::min(after.value_or(last_), last_);
  stream->request = exchange.Stream("text/event-stream");
  evhttp_connection* connection = evhttp_request_get_connection(stream->request);
  if (connection == nullptr) return evhttp_send_reply_end(stream->request);
  evhttp_connection_set_closecb(connection, &EventStreams::OnClosed, stream.get());
  bufferevent_set_timeouts(evhttp_connection_get_bufferevent(connection), nullptr, &kStalled);
  Stream& opened = *stream;
  streams_.emplace(opened.id, std::move(stream));
  Write(opened, "retry: 2000\n\n");
  Pump(opened);
}

void EventStreams::OnClosed(evhttp_connection*, void* argument) {
  auto* stream = static_cast<Stream*>(argument);
  EventStreams& owner = *stream->owner;
  // A request that lost its connection is ours to free.
  if (evhttp_request_get_connection(stream->request) == nullptr) evhttp_send_reply_end(stream->request);
  owner.streams_.erase(stream->id);
}

size_t EventStreams::Unsent(const Stream& stream) const {
  evhttp_connection* connection = evhttp_request_get_connection(stream.request);
  return connection == nullptr
             ? 0
             : evbuffer_get_length(bufferevent_get_output(evhttp_connection_get_bufferevent(connection)));
}

void EventStreams::Write(Stream& stream, std::string_view text) {
  evbuffer* chunk = evbuffer_new();
  evbuffer_add(chunk, text.data(), text.size());
  evhttp_send_reply_chunk(stream.request, chunk);
  evbuffer_free(chunk);
  stream.written_ms = clock_.SteadyMs();
}

void EventStreams::Add(const std::vector<proto::Event>& events) {
  for (const proto::Event& event : events) {
    if (!begun_) forgotten_ = event.sequence() - 1;
    begun_ = true;
    last_ = event.sequence();
    told_.push_back({event.sequence(), event.job(), TextOf(event)});
    told_bytes_ += told_.back().text.size();
    while (told_.size() > kToldMost || told_bytes_ > kToldBytes) {
      forgotten_ = told_.front().sequence;
      told_bytes_ -= told_.front().text.size();
      told_.pop_front();
    }
  }
  if (events.empty()) return;
  for (const auto& [id, stream] : streams_) Pump(*stream);
}

void EventStreams::Pump(Stream& stream) {
  if (stream.reading || stream.place >= last_) return;
  if (stream.place < forgotten_) return ReadPast(stream);
  auto next = std::upper_bound(told_.begin(), told_.end(), stream.place,
                               [](uint64_t place, const Told& one) { return place < one.sequence; });
  std::string text;
  const size_t unsent = Unsent(stream);
  for (; next != told_.end() && unsent + text.size() < kUnsent; ++next) {
    if (IsFor(stream.job, next->job)) text += next->text;
    stream.place = next->sequence;
  }
  if (!text.empty()) Write(stream, text);
}

void EventStreams::ReadPast(Stream& stream) {
  if (Unsent(stream) >= kUnsent) return;
  stream.reading = true;
  proto::Frame frame;
  frame.mutable_watch_events()->set_job(stream.job);
  frame.mutable_watch_events()->set_after(stream.place);
  frame.mutable_watch_events()->set_limit(kPastPage);
  questions_.Look(std::move(frame), [this, id = stream.id](const Result<proto::Frame>& reply) {
    const auto found = streams_.find(id);
    if (found == streams_.end()) return;
    Stream& asked = *found->second;
    asked.reading = false;
    if (!reply) return;  // The next tick asks again.
    const proto::WatchEventsReply& past = reply->watch_events_reply();
    std::string text;
    if (past.gap() > 0) {
      ++dropped_;
      text = fmt::format("event: gap\ndata: {{\"after\":{},\"events\":{}}}\n\n", asked.place, past.gap());
    }
    for (const proto::Event& event : past.events()) {
      text += TextOf(event);
      asked.place = event.sequence();
    }
    // Nothing more before what the list holds.
    if (past.events_size() < static_cast<int>(kPastPage))
      asked.place = std::max(asked.place, std::min(forgotten_, last_));
    if (!text.empty()) Write(asked, text);
    Pump(asked);
  });
}

void EventStreams::Tick() {
  const int64_t now = clock_.SteadyMs();
  std::vector<uint64_t> ids;
  for (const auto& [id, stream] : streams_) {
    if (stream->place < last_ || now - stream->written_ms >= kHeartbeatMs) ids.push_back(id);
  }
  for (const uint64_t id : ids) {
    const auto found = streams_.find(id);
    if (found == streams_.end()) continue;
    Pump(*found->second);
    if (now - found->second->written_ms >= kHeartbeatMs && Unsent(*found->second) < kUnsent)
      Write(*found->second, ": ping\n\n");
  }
}

void EventStreams::Bye() {
  while (!streams_.empty()) {
    const auto first = streams_.begin();
    evhttp_request* request = first->second->request;
    evhttp_connection* connection = evhttp_request_get_connection(request);
    if (connection != nullptr) evhttp_connection_set_closecb(connection, nullptr, nullptr);
    Write(*first->second, "event: bye\ndata: {}\n\n");
    streams_.erase(first);
    evhttp_send_reply_end(request);
  }
}

}  // namespace hone
