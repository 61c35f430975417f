// The test program is the runner's program too: the agent under test executes it again as its zygote.
#include <gtest/gtest.h>

#include "tests/agent/poison.h"
#include "worker/supervisor/zygote.h"

int main(int argument_count, char** arguments) {
  int exit_status = 0;
  if (hone::RunAsZygote(argument_count, arguments, hone::PoisonTask, exit_status)) return exit_status;
  testing::InitGoogleTest(&argument_count, arguments);
  return RUN_ALL_TESTS();
}
