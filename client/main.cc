// The `hone` command; client/command.h lists what it can do.
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include "client/command.h"
#include "client/interrupt.h"

int main(int argc, char** argv) {
  hone::InstallInterruptHandler();
  spdlog::set_default_logger(spdlog::stderr_color_mt("hone"));
  spdlog::set_level(spdlog::level::warn);
  return hone::RunCommandLine(std::vector<std::string>(argv + 1, argv + argc));
}
