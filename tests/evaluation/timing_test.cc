// Rounds under a machine whose figures the test makes up: which rounds count is decided by those alone.
#include "worker/evaluation/timing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "tests/evaluation/fixtures.h"
#include "worker/evaluation/player.h"

namespace hone {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// A second passes between readings, of which others have `others_s` after the readings with the given numbers; a round
// of one instance is two readings, after one at the start.
class MadeUpMachine {
 public:
  std::set<int> disturbed;
  std::function<void(MachineFigures&)> disturb = [](MachineFigures& figures) { figures.busy_s += 1.5; };

  MachineFigures operator()(const std::vector<pid_t>& measured) {
    EXPECT_FALSE(measured.empty());
    figures_.processors = 2;
    figures_.tick_s = 0.01;
    figures_.time_s += 1;
    figures_.busy_s += 0.5;
    figures_.own_s += 0.5;
    if (disturbed.contains(readings_)) disturb(figures_);
    ++readings_;
    return figures_;
  }
  // The last reading of a round of one instance.
  static int EndOfRound(int round) { return 2 + 2 * round; }
  int readings() const { return readings_; }

 private:
  MachineFigures figures_;
  int readings_ = 0;
};

class TimingTest : public testing::Test {
 protected:
  Player Load(const char* role) {
    proto::Subject subject;
    *subject.mutable_model() = test::ModelIn(folder_, std::string(role) + ".onnx", test::Mlp());
    subject.set_backend("onnxruntime");
    Player player = Player::Start(role, subject).value();
    const auto loaded = player.Load({});
    EXPECT_TRUE(loaded) << loaded.error().message;
    const auto data = SyntheticDataSet(player.Signature(), 1, 1);
    EXPECT_TRUE(player.Bind((*data)->Get(0).value()));
    return player;
  }
  Rounds Time(const std::vector<Instance*>& instances) {
    options_.block_ms = 0;
    options_.read_machine = [this](const std::vector<pid_t>& measured) { return machine_(measured); };
    auto rounds = TimeRounds(instances, options_);
    EXPECT_TRUE(rounds) << rounds.error().message;
    return rounds ? std::move(*rounds) : Rounds();
  }
  test::TempFolder folder_;
  TimingOptions options_;
  MadeUpMachine machine_;
};

TEST_F(TimingTest, QuietRoundsAllCountAndNothingIsNoted) {
  Player a = Load("a"), b = Load("b"), c = Load("c");
  options_.pairs = 5;
  const Rounds rounds = Time({&a.instance(), &b.instance(), &c.instance()});
  ASSERT_EQ(rounds.series.size(), 3U);
  for (const Rounds::Series& series : rounds.series) {
    EXPECT_EQ(series.blocks_ms.size(), 5U);
    EXPECT_EQ(series.runs_ms.size(), 15U) << "three runs a block";
    EXPECT_FALSE(series.energy_j);
  }
  EXPECT_THAT(rounds.notes, IsEmpty());
}

TEST_F(TimingTest, ADisturbedRoundIsMeasuredAgainAndSaid) {
  Player a = Load("a");
  options_.pairs = 6;
  machine_.disturbed = {MadeUpMachine::EndOfRound(1), MadeUpMachine::EndOfRound(4)};
  const Rounds rounds = Time({&a.instance()});
  EXPECT_EQ(rounds.series[0].blocks_ms.size(), 6U);
  EXPECT_EQ(rounds.series[0].runs_ms.size(), 18U) << "runs of disturbed rounds are thrown away";
  EXPECT_EQ(machine_.readings(), 1 + 2 * 8 + 1);
  EXPECT_THAT(
      rounds.notes,
      ElementsAre(HasSubstr("2 of 8 rounds were disturbed and measured again: at worst other processes (75 %")));
}

TEST_F(TimingTest, RepeatsEndAndWhatCountsAlthoughDisturbedIsSaid) {
  Player a = Load("a"), b = Load("b");
  options_.pairs = 4;
  for (int reading = 0; reading < 100; ++reading) machine_.disturbed.insert(reading);
  const Rounds rounds = Time({&a.instance(), &b.instance()});
  EXPECT_EQ(rounds.series[0].blocks_ms.size(), 4U);
  EXPECT_EQ(rounds.series[1].blocks_ms.size(), 4U);
  EXPECT_THAT(rounds.notes, ElementsAre(HasSubstr("2 of 6 pairs were disturbed and measured again"),
                                        HasSubstr("4 of the 4 pairs that count were disturbed")));
}

TEST_F(TimingTest, ThrottlingAndALowFrequencyDisturbToo) {
  Player a = Load("a");
  options_.pairs = 8;
  bool slow = false;
  machine_.disturbed = {0, MadeUpMachine::EndOfRound(3), MadeUpMachine::EndOfRound(3) + 1,
                        MadeUpMachine::EndOfRound(6)};
  machine_.disturb = [&slow](MachineFigures& figures) {
    if (figures.time_s > 12) {
      ++figures.throttled;
      return;
    }
    figures.frequency_mhz = slow ? 2000 : 3000;
    slow = !slow || figures.time_s < 2;
  };
  const Rounds rounds = Time({&a.instance()});
  EXPECT_EQ(rounds.series[0].blocks_ms.size(), 8U);
  ASSERT_EQ(rounds.notes.size(), 1U);
  EXPECT_THAT(rounds.notes[0], HasSubstr("2 of 10 rounds"));
  EXPECT_THAT(rounds.notes[0], HasSubstr("throttling"));
}

TEST_F(TimingTest, EnergyIsThatOfOneRun) {
  Player a = Load("a");
  options_.pairs = 3;
  uint64_t microjoules = 0;
  options_.block_ms = 0;
  options_.read_machine = [&](const std::vector<pid_t>& measured) {
    MachineFigures figures = machine_(measured);
    // Four joules a reading; a block of three runs and one to warm up lies between two of them.
    figures.packages = {{microjoules += 4'000'000, 1'000'000'000}};
    return figures;
  };
  const auto rounds = TimeRounds({&a.instance()}, options_);
  ASSERT_TRUE(rounds);
  ASSERT_TRUE(rounds->series[0].energy_j);
  EXPECT_DOUBLE_EQ(*rounds->series[0].energy_j, 1.0);
}

}  // namespace
}  // namespace hone
