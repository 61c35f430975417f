#include "common/base/service_notify.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/support/service_manager.h"

namespace hone::test {
namespace {

TEST(ServiceNotifyTest, ReadyBeatsAndTheEndAreToldAtAQuarterOfTheWatchdog) {
  ServiceManager manager;
  ::setenv("WATCHDOG_USEC", "4000000", 1);
  ServiceNotifier notifier = ServiceNotifier::FromEnvironment();
  EXPECT_EQ(std::getenv("NOTIFY_SOCKET"), nullptr);
  notifier.Ready("serving");
  EXPECT_EQ(manager.Heard(), "READY=1\nSTATUS=serving");
  notifier.Beat(10'000);
  notifier.Beat(10'500);
  notifier.Beat(10'999);
  EXPECT_EQ(manager.Heard(), "WATCHDOG=1");
  EXPECT_EQ(manager.Heard(), "");
  notifier.Beat(11'000);
  EXPECT_EQ(manager.Heard(), "WATCHDOG=1");
  notifier.Stopping();
  EXPECT_EQ(manager.Heard(), "STOPPING=1");
}

TEST(ServiceNotifyTest, NobodyAsksAndNothingHappens) {
  ::unsetenv("NOTIFY_SOCKET");
  ServiceNotifier notifier = ServiceNotifier::FromEnvironment();
  notifier.Ready("serving");
  notifier.Beat(1);
  notifier.Stopping();
}

}  // namespace
}  // namespace hone::test
