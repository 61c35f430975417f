#include "client/client.h"

#include <gtest/gtest.h>

#include "client/job_progress.h"
#include "client/remote.h"
#include "common/base/digest.h"
#include "tests/client/fake_service.h"
#include "tests/client/fixtures.h"
#include "tests/support/programs.h"

namespace hone::test {
namespace {

Client Connected(const FakeService& service) {
  auto client = Client::Connect(service.endpoint());
  if (!client) throw std::runtime_error(client.error().message);
  return std::move(*client);
}

TEST(ClientTest, TrialsComePageByPage) {
  FakeService service([](const proto::Frame& request, proto::Frame& reply) {
    const proto::ListTrials& list = request.list_trials();
    for (uint64_t i = list.from(); i < std::min<uint64_t>(list.from() + 3, 7); ++i) {
      *reply.mutable_list_trials_reply()->add_trials() = Trial(i, proto::TRIAL_COMPLETE);
    }
    reply.mutable_list_trials_reply()->set_more(list.from() + 3 < 7);
  });
  const auto trials = Connected(service).Trials(1, std::nullopt);
  ASSERT_TRUE(trials) << trials.error().message;
  ASSERT_EQ(trials->size(), 7U);
  for (uint64_t i = 0; i < 7; ++i) EXPECT_EQ((*trials)[i].trial(), i);
}

TEST(ClientTest, JobsComePageByPageNewestFirst) {
  FakeService service([](const proto::Frame& request, proto::Frame& reply) {
    const uint64_t before = request.list_jobs().before() == 0 ? 6 : request.list_jobs().before();
    reply.mutable_list_jobs_reply();
    for (uint64_t job = before - 1; job >= 1 && job + 2 >= before; --job)
      reply.mutable_list_jobs_reply()->add_jobs()->set_job(job);
  });
  Client client = Connected(service);
  const auto jobs = client.Jobs(1000);
  ASSERT_TRUE(jobs) << jobs.error().message;
  ASSERT_EQ(jobs->size(), 5U);
  EXPECT_EQ(jobs->front().job(), 5U);
  EXPECT_EQ(jobs->back().job(), 1U);
}

TEST(ClientTest, ErrorOfTheCoordinatorArrivesWithItsPlace) {
  FakeService service([](const proto::Frame&, proto::Frame& reply) {
    reply.mutable_error()->set_code(proto::Error::NOT_FOUND);
    reply.mutable_error()->set_message("there is no job 9");
    reply.mutable_error()->mutable_position()->set_line(4);
  });
  const auto job = Connected(service).Job(9);
  ASSERT_FALSE(job);
  EXPECT_EQ(job.error().code, ErrorCode::kNotFound);
  EXPECT_EQ(job.error().message, "there is no job 9");
  EXPECT_EQ(job.error().line, 4U);
}

TEST(ClientTest, AnswerOfAnotherKindIsABug) {
  FakeService service([](const proto::Frame&, proto::Frame& reply) { reply.mutable_ping_reply(); });
  EXPECT_EQ(Connected(service).Job(1).error().code, ErrorCode::kBug);
}

TEST(ClientTest, SilentCoordinatorIsUnreachableByName) {
  FakeService service([](const proto::Frame&, proto::Frame&) {});
  const auto client = ConnectTo({service.endpoint(), {}});
  ASSERT_FALSE(client);
  EXPECT_EQ(client.error().code, ErrorCode::kUnreachable);
  EXPECT_NE(client.error().message.find(service.endpoint()), std::string::npos);
  EXPECT_NE(client.error().remedy.find("hone-coordinator"), std::string::npos);
}

TEST(ClientTest, SubmitUploadsWhatIsMissingAndSendsTheJob) {
  TempFolder folder;
  std::ofstream(folder / "model.onnx") << "bytes of a model";
  const std::string digest = *DigestOfFile(folder / "model.onnx");
  std::string uploaded;
  proto::SubmitJob submitted;
  FakeService service([&](const proto::Frame& request, proto::Frame& reply) {
    if (request.has_find_missing()) {
      for (const std::string& wanted : request.find_missing().digests())
        reply.mutable_find_missing_reply()->add_digests(wanted);
    } else if (request.has_put_chunk()) {
      uploaded.resize(request.put_chunk().offset());
      uploaded += request.put_chunk().data();
      reply.mutable_put_chunk_reply()->set_received_bytes(uploaded.size());
      reply.mutable_put_chunk_reply()->set_complete(uploaded.size() == request.put_chunk().size_bytes());
    } else if (request.has_submit_job()) {
      submitted = request.submit_job();
      reply.mutable_submit_job_reply()->set_job(12);
    }
  });
  Client::Submission submission;
  submission.model.set_folder(folder.path().string());
  submission.model.mutable_bundle()->set_format("onnx");
  submission.model.mutable_bundle()->set_main("model.onnx");
  proto::File& file = *submission.model.mutable_bundle()->add_files();
  file.set_path("model.onnx");
  file.set_digest(digest);
  file.set_size_bytes(16);
  submission.name = "m";
  {
    Client client = Connected(service);
    const auto reply = client.Submit(submission);
    ASSERT_TRUE(reply) << reply.error().message;
    EXPECT_EQ(reply->job(), 12U);
  }
  service.Stop();
  EXPECT_EQ(uploaded, "bytes of a model");
  EXPECT_EQ(submitted.model().files(0).digest(), digest);
  EXPECT_FALSE(submitted.request().empty());
  EXPECT_FALSE(submitted.has_calibration());
}

// A job whose events come in two answers, the first of them lost.
TEST(FollowTest, NoLineIsLostOrTwiceAndTheEndIsReported) {
  int asked = 0;
  FakeService service([&](const proto::Frame& request, proto::Frame& reply) {
    if (request.has_get_job()) {
      *reply.mutable_get_job_reply()->mutable_job() = FinishedJob();
      return;
    }
    if (!request.has_watch_events()) return;
    proto::WatchEventsReply& events = *reply.mutable_watch_events_reply();
    const uint64_t after = request.watch_events().after();
    for (uint64_t sequence = after + 1; sequence <= std::min<uint64_t>(after + 2, 5); ++sequence) {
      proto::Event& event = *events.add_events();
      event.set_sequence(sequence);
      event.set_kind("trial.complete");
      event.set_text("event " + std::to_string(sequence));
    }
    events.set_last(5);
    events.set_state(after >= 3 ? proto::JOB_COMPLETE : proto::JOB_RUNNING);
    if (++asked == 2) reply.clear_body();
  });
  Client client = Connected(service);
  Console console{TerminalTraits{}};
  std::vector<std::string> lines;
  FollowOptions options;
  options.line = [&](const std::string& line) {
    if (line.find("event=trial.complete") != std::string::npos) lines.push_back(line.substr(line.find("text=") + 6, 7));
  };
  const auto job = FollowJob(client, 3, console, options);
  ASSERT_TRUE(job) << job.error().message;
  EXPECT_EQ(job->job(), 3U);
  EXPECT_EQ(lines, (std::vector<std::string>{"event 1", "event 2", "event 3", "event 4", "event 5"}));
}

TEST(FollowTest, EventsThatAreNoLongerKeptAreToldOnce) {
  int refreshed = 0;
  FakeService service([&](const proto::Frame& request, proto::Frame& reply) {
    if (request.has_get_job()) {
      *reply.mutable_get_job_reply()->mutable_job() = FinishedJob();
      ++refreshed;
    }
    if (!request.has_watch_events()) return;
    proto::WatchEventsReply& events = *reply.mutable_watch_events_reply();
    const uint64_t after = request.watch_events().after();
    constexpr uint64_t kDropped = 40;
    if (after < kDropped) events.set_gap(kDropped - after);
    if (after >= kDropped + 1) return events.set_last(after), events.set_state(proto::JOB_COMPLETE);
    proto::Event& event = *events.add_events();
    event.set_sequence(std::max(after, kDropped) + 1);
    event.set_kind("trial.complete");
    event.set_text("event");
    events.set_last(event.sequence());
    events.set_state(proto::JOB_RUNNING);
  });
  Client client = Connected(service);
  Console console{TerminalTraits{}};
  std::vector<std::string> lines;
  FollowOptions options;
  options.line = [&](const std::string& line) { lines.push_back(line); };
  const auto job = FollowJob(client, 3, console, options);
  ASSERT_TRUE(job) << job.error().message;
  lines.erase(std::remove_if(lines.begin(), lines.end(),
                             [](const std::string& line) { return line.find("event=best") != std::string::npos; }),
              lines.end());
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_NE(lines[0].find("40 earlier events are no longer kept by the coordinator; counts and best are as of now"),
            std::string::npos)
      << lines[0];
  EXPECT_NE(lines[1].find("event=trial.complete"), std::string::npos);
  service.Stop();
  EXPECT_GE(refreshed, 2);
}

TEST(FollowTest, TimeoutLeavesTheJobAlone) {
  FakeService service([&](const proto::Frame& request, proto::Frame& reply) {
    if (request.has_get_job()) *reply.mutable_get_job_reply()->mutable_job() = FinishedJob();
    if (request.has_watch_events()) reply.mutable_watch_events_reply()->set_state(proto::JOB_RUNNING);
  });
  Client client = Connected(service);
  Console console{TerminalTraits{}};
  FollowOptions options;
  options.timeout = std::chrono::milliseconds(50);
  const auto job = FollowJob(client, 3, console, options);
  ASSERT_FALSE(job);
  EXPECT_EQ(job.error().code, ErrorCode::kTimeout);
}

}  // namespace
}  // namespace hone::test
