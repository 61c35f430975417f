// Server-sent events: what comes, in which order, after which number; many of them at once.
#include <sys/resource.h>

#include "tests/http/fixture.h"
#include "tests/support/setting.h"

namespace hone::test {
namespace {

struct StreamEvent {
  uint64_t id = 0;
  std::string kind;
  nlohmann::json data;
};

// An open stream; reads one event after the other.
class Stream {
 public:
  Stream(uint16_t port, const std::string& target, const HttpHeaders& headers = {}) : connection_(port) {
    EXPECT_TRUE(connection_.Send(HttpRequestText("GET", target, headers, "", port)));
    head_ = connection_.Head();
  }
  const HttpReply& head() const { return head_; }
  // nullopt at the end of the stream.
  std::optional<StreamEvent> Next() {
    while (true) {
      const size_t end = text_.find("\n\n");
      if (end == std::string::npos) {
        auto chunk = connection_.Chunk();
        if (!chunk) return std::nullopt;
        text_ += *chunk;
        continue;
      }
      StreamEvent event;
      std::istringstream lines(text_.substr(0, end));
      text_.erase(0, end + 2);
      for (std::string line; std::getline(lines, line);) {
        if (line.starts_with("id: ")) event.id = std::stoull(line.substr(4));
        if (line.starts_with("event: ")) event.kind = line.substr(7);
        if (line.starts_with("data: ")) event.data = nlohmann::json::parse(line.substr(6));
      }
      if (!event.kind.empty()) return event;
    }
  }

 private:
  HttpConnection connection_;
  HttpReply head_;
  std::string text_;
};

using StreamsTest = HttpTest;

TEST_F(StreamsTest, AStreamTellsAJobsEventsInOrderAndGoesOnWhereItStopped) {
  FakeWorker worker = Worker();
  const uint64_t job = Submit();
  const std::string target = "/api/v1/jobs/" + std::to_string(job) + "/events";
  Stream live(port_, target + "?after=0");
  EXPECT_EQ(live.head().status, 200);
  EXPECT_EQ(live.head().Header("content-type"), "text/event-stream");
  EXPECT_EQ(live.Next()->kind, "job.submitted");
  worker.Work();
  std::vector<StreamEvent> seen;
  while (auto event = live.Next()) {
    EXPECT_EQ(event->data.at("job"), std::to_string(job));
    EXPECT_GT(event->id, seen.empty() ? 0 : seen.back().id);
    seen.push_back(*event);
    if (event->kind == "job.complete") break;
    if (worker.held.empty()) worker.Work();
  }
  ASSERT_GT(seen.size(), 10u);
  // From the middle: the rest, without a gap and without a repetition; from memory, and after a restart from the
  // database.
  const auto from_middle = [&] {
    const size_t middle = seen.size() / 2;
    Stream again(port_, target, {{"Last-Event-ID", std::to_string(seen[middle].id)}});
    for (size_t i = middle + 1; i < seen.size(); ++i) {
      const auto event = again.Next();
      ASSERT_TRUE(event);
      EXPECT_EQ(event->id, seen[i].id);
      EXPECT_EQ(event->kind, seen[i].kind);
    }
  };
  from_middle();
  coordinator_->Kill();
  coordinator_->Start();
  FindPort();
  from_middle();
}

TEST_F(StreamsTest, TheFleetsStreamHasEveryJobsEventsAndTheWorkers) {
  Stream stream(port_, "/api/v1/events");
  FakeWorker worker = Worker();
  const uint64_t job = Submit();
  EXPECT_EQ(stream.Next()->kind, "worker.joined");
  const auto submitted = stream.Next();
  EXPECT_EQ(submitted->kind, "job.submitted");
  EXPECT_EQ(submitted->data.at("job"), std::to_string(job));
}

TEST_F(StreamsTest, AnUnknownJobIsToldAndNotWatched) { EXPECT_EQ(Get("/api/v1/jobs/77/events").status, 404); }

TEST_F(StreamsTest, TheCoordinatorsEndIsSaid) {
  Stream stream(port_, "/api/v1/events");
  coordinator_->Stop();
  const auto last = stream.Next();
  ASSERT_TRUE(last);
  EXPECT_EQ(last->kind, "bye");
  EXPECT_FALSE(stream.Next());
}

TEST_F(StreamsTest, ManyStreamsAllHearAndHealthIsStillTold) {
  const size_t count = Setting("HONE_STREAMS", 200);
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  std::vector<std::unique_ptr<Stream>> streams;
  for (size_t i = 0; i < count; ++i) {
    streams.push_back(std::make_unique<Stream>(port_, "/api/v1/events"));
    ASSERT_EQ(streams.back()->head().status, 200) << i;
  }
  FakeWorker worker = Worker();
  for (auto& stream : streams) {
    const auto event = stream->Next();
    ASSERT_TRUE(event);
    EXPECT_EQ(event->kind, "worker.joined");
  }
  EXPECT_EQ(Get("/healthz").status, 200);
  EXPECT_NE(Get("/metrics").body.find("hone_events_clients " + std::to_string(count)), std::string::npos);
  streams.clear();
  EXPECT_TRUE(Eventually([&] { return Get("/metrics").body.find("hone_events_clients 0\n") != std::string::npos; }));
}

}  // namespace
}  // namespace hone::test
