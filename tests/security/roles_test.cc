// What each role may ask, by the coordinator's own table; who a worker and a job's owner is.
#include <gmock/gmock.h>

#include <set>

#include "tests/coordinator/harness.h"

namespace hone::test {
namespace {

using ::testing::HasSubstr;

class RolesTest : public ::testing::Test {
 protected:
  // The reply, if there is one at once.
  std::optional<proto::Frame> Ask(const std::string& name, Role role, proto::Frame frame) {
    frame.set_protocol(kProtocol);
    frame.set_request(++request_);
    std::optional<proto::Frame> found;
    for (auto& out : harness_.coordinator->Round({{"peer of " + name, std::move(frame), {name, role}}})) {
      if (out.frame.request() == request_) found = std::move(out.frame);
    }
    return found;
  }
  bool IsDenied(const std::optional<proto::Frame>& reply) {
    return reply && reply->has_error() && FromProto(reply->error()).code == ErrorCode::kDenied;
  }
  proto::Frame Hello(const std::string& name, const std::string& session) {
    return FrameOf([&](auto& frame) {
      auto& hello = *frame.mutable_worker_hello();
      hello.set_name(name);
      hello.set_session(session);
      hello.add_tags("cpu");
      *hello.mutable_catalogue() = FakeCatalogue();
      hello.set_slots(1);
    });
  }
  proto::Frame Synchronize(const std::string& session) {
    return FrameOf([&](auto& frame) { frame.mutable_synchronize()->set_session(session); });
  }

  Harness harness_;
  uint64_t request_ = 1'000'000;
};

TEST_F(RolesTest, EveryRequestIsForTheRolesThatTheDocumentNames) {
  struct Row {
    Role role;
    std::set<std::string> denied;
  };
  const std::set<std::string> of_clients = {"submit_job",   "check_recipe", "get_job",       "list_jobs",
                                            "list_trials",  "watch_events", "cancel_job",    "retry_job",
                                            "list_workers", "get_log",      "get_catalogue", "get_samples",
                                            "drain_worker", "get_origin",   "list_attempts"};
  const std::vector<Row> rows = {{Role::worker, of_clients},
                                 {Role::client, {"worker_hello", "synchronize", "drain_worker"}},
                                 {Role::admin, {"worker_hello", "synchronize"}},
                                 {Role::everyone, {}}};
  const auto* body = proto::Frame::descriptor()->FindOneofByName("body");
  size_t asked = 0;
  for (const Row& row : rows) {
    for (int i = 0; i < body->field_count(); ++i) {
      const auto* field = body->field(i);
      // Requests are what has a reply.
      if (proto::Frame::descriptor()->FindFieldByName(field->name() + "_reply") == nullptr) continue;
      proto::Frame frame;
      frame.GetReflection()->MutableMessage(&frame, field);
      EXPECT_EQ(IsDenied(Ask("somebody", row.role, frame)), row.denied.contains(field->name()))
          << RoleName(row.role) << " " << field->name();
      ++asked;
    }
  }
  EXPECT_EQ(asked, rows.size() * 21);
}

TEST_F(RolesTest, RefusalNamesKeyRoleAndWhoMay) {
  const auto reply =
      Ask("board", Role::worker, FrameOf([](auto& frame) { frame.mutable_drain_worker()->set_name("x"); }));
  ASSERT_TRUE(IsDenied(reply));
  EXPECT_THAT(reply->error().message(), HasSubstr("the key of board has the role worker; this takes admin"));
}

TEST_F(RolesTest, WorkerSpeaksForItselfAlone) {
  EXPECT_TRUE(IsDenied(Ask("board", Role::worker, Hello("other", "s-0"))));
  ASSERT_TRUE(Ask("board", Role::worker, Hello("board", "s-1"))->has_worker_hello_reply());
  ASSERT_TRUE(Ask("other", Role::worker, Hello("other", "s-2"))->has_worker_hello_reply());
  EXPECT_TRUE(IsDenied(Ask("other", Role::worker, Synchronize("s-1"))));
  EXPECT_FALSE(IsDenied(Ask("board", Role::worker, Synchronize("s-1"))));
}

TEST_F(RolesTest, ReportsOfASessionThatSaidNoHelloAreNotTaken) {
  proto::Frame frame = Synchronize("s-9");
  auto& report = *frame.mutable_synchronize()->add_reports();
  report.set_lease(4);
  report.set_token(4);
  report.set_outcome(proto::Report::DONE);
  const auto reply = Ask("board", Role::worker, frame);
  ASSERT_TRUE(reply && reply->has_synchronize_reply());
  EXPECT_TRUE(reply->synchronize_reply().unknown());
  EXPECT_EQ(reply->synchronize_reply().acknowledged_size(), 0);
}

TEST_F(RolesTest, JobBelongsToTheKeyThatSubmittedIt) {
  ASSERT_TRUE(Ask("board", Role::worker, Hello("board", "s-1")));
  const proto::Frame submission = harness_.Submission(kRecipe, "the model", "once");
  const auto submitted = Ask("ann", Role::client, submission);
  ASSERT_TRUE(submitted && submitted->has_submit_job_reply()) << submitted->error().message();
  const uint64_t job = submitted->submit_job_reply().job();
  EXPECT_EQ(harness_.Job(job).owner(), "ann");
  // Bob knows the key of the submission, and gets nothing by it.
  EXPECT_TRUE(IsDenied(Ask("bob", Role::client, submission)));
  const proto::Frame cancel = FrameOf([&](auto& frame) { frame.mutable_cancel_job()->set_job(job); });
  const auto denied = Ask("bob", Role::client, cancel);
  ASSERT_TRUE(IsDenied(denied));
  EXPECT_THAT(denied->error().message(), HasSubstr("belongs to ann"));
  EXPECT_TRUE(Ask("ann", Role::client, submission)->has_submit_job_reply());
  EXPECT_TRUE(Ask("chief", Role::admin, cancel)->cancel_job_reply().was_running());
}

}  // namespace
}  // namespace hone::test
