// Where the client's settings come from, named coordinators, completions and man pages.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fmt/format.h>

#include <set>

#include "client/command.h"
#include "client/completion.h"
#include "client/configuration.h"
#include "client/help.h"
#include "client/machine_checks.h"
#include "client/table.h"
#include "common/base/strings.h"
#include "tests/client/fake_service.h"
#include "tests/client/fixtures.h"
#include "tests/support/programs.h"

namespace hone::test {
namespace {

void WriteText(const fs::path& file, const std::string& text) {
  fs::create_directories(file.parent_path());
  std::ofstream(file) << text;
}

// A home of its own; HONE_* of the machine do not reach in.
class SettingsTest : public ::testing::Test {
 protected:
  Ran Run(const std::vector<std::string>& words, std::map<std::string, std::string> environment = {}) {
    environment.emplace("HOME", (folder_ / "home").string());
    for (const char* name : {"HONE_COORDINATOR", "HONE_KEYS", "XDG_CONFIG_HOME", "XDG_STATE_HOME"})
      environment.emplace(name, "");
    fs::create_directories(folder_ / "repo/deep");
    fs::create_directories(folder_ / "repo/.git");
    return Hone(words, 60, environment, folder_ / "repo/deep");
  }
  std::string ValueOf(const std::string& key, std::map<std::string, std::string> environment = {}) {
    const Ran ran = Run({"config", "show", "--json"}, std::move(environment));
    EXPECT_EQ(ran.code, 0) << ran.err;
    const auto setting = ran.json().at("settings").at(key);
    return setting.at("value").get<std::string>() + " from " + setting.at("origin").get<std::string>();
  }
  TempFolder folder_;
};

TEST_F(SettingsTest, NearerPlacesWinAndEachSettingTellsItsOrigin) {
  EXPECT_EQ(ValueOf("coordinator"), "tcp://127.0.0.1:5710 from default");
  const std::string user = (folder_ / "home/.config/hone/config.yaml").string();
  WriteText(user, "# mine\ncoordinator: tcp://user:1\ncolor: never\n");
  EXPECT_EQ(ValueOf("coordinator"), "tcp://user:1 from " + user + ":2");
  const std::string project = (folder_ / "repo/.hone.yaml").string();
  WriteText(project, "coordinator: tcp://project:1\n");
  EXPECT_EQ(ValueOf("coordinator"), "tcp://project:1 from " + project + ":1");
  EXPECT_EQ(ValueOf("color"), "never from " + user + ":3");
  EXPECT_EQ(ValueOf("coordinator", {{"HONE_COORDINATOR", "tcp://variable:1"}}),
            "tcp://variable:1 from HONE_COORDINATOR");
  const Ran flag = Run({"jobs", "--coordinator", "ipc://" + (folder_ / "flag").string()},
                       {{"HONE_COORDINATOR", "tcp://variable:1"}});
  EXPECT_NE(flag.err.find((folder_ / "flag").string()), std::string::npos) << flag.err;
  const Ran shown = Run({"config", "show", "--origin"});
  EXPECT_NE(shown.out.find(project + ":1"), std::string::npos) << shown.out;
}

TEST_F(SettingsTest, AFileAboveTheRepositoryIsNotTaken) {
  WriteText(folder_ / ".hone.yaml", "coordinator: tcp://above:1\n");
  EXPECT_EQ(ValueOf("coordinator"), "tcp://127.0.0.1:5710 from default");
}

TEST_F(SettingsTest, MistakesAreToldWithPlaceAndNearestKey) {
  WriteText(folder_ / "home/.config/hone/config.yaml", "colour: never\n");
  const Ran typo = Run({"jobs"});
  EXPECT_EQ(typo.code, 9);
  EXPECT_NE(typo.err.find("config.yaml:1:1"), std::string::npos) << typo.err;
  EXPECT_NE(typo.err.find("'color'"), std::string::npos) << typo.err;
  EXPECT_EQ(Run({"jobs", "--help"}).code, 0);
  const Ran doctor = Run({"doctor", "--json"});
  EXPECT_EQ(doctor.json().at("checks").at(0).at("state"), "fault");
  WriteText(folder_ / "home/.config/hone/config.yaml", "color: green\n");
  EXPECT_NE(Run({"jobs"}).err.find("color must be auto, always or never"), std::string::npos);
}

TEST_F(SettingsTest, AProjectMayNotNameProgramsOrKeys) {
  for (const char* text : {"pager: rm -rf /\n", "keys: /tmp/theirs\n"}) {
    WriteText(folder_ / "repo/.hone.yaml", text);
    const Ran ran = Run({"jobs"});
    EXPECT_EQ(ran.code, 9);
    EXPECT_NE(ran.err.find("is not taken from a project's file"), std::string::npos) << ran.err;
  }
}

TEST_F(SettingsTest, ContextsAreAddedUsedNamedAndRemoved) {
  EXPECT_EQ(Run({"context", "add", "lab", "--coordinator", "tcp://lab-1:5710"}).code, 0);
  EXPECT_EQ(Run({"context", "add", "edge", "--coordinator", "tcp://edge:5710"}).code, 0);
  EXPECT_EQ(Run({"context", "use", "lab"}).code, 0);
  EXPECT_EQ(ValueOf("coordinator"), "tcp://lab-1:5710 from context lab");
  EXPECT_EQ(ValueOf("coordinator", {{"HONE_CONTEXT", "edge"}}), "tcp://edge:5710 from context edge");
  const auto listed = Run({"context", "--json"}).json().at("contexts");
  ASSERT_EQ(listed.size(), 2U);
  EXPECT_EQ(listed.at(1).at("name"), "lab");
  EXPECT_EQ(listed.at(1).at("in_use"), true);
  const Ran wrong = Run({"context", "use", "lba"});
  EXPECT_EQ(wrong.code, 8);
  EXPECT_NE(wrong.err.find("'lab'"), std::string::npos) << wrong.err;
  EXPECT_EQ(Run({"context", "remove", "lab"}).code, 0);
  EXPECT_EQ(ValueOf("coordinator"), "tcp://127.0.0.1:5710 from default");
  EXPECT_EQ(Run({"context", "add", "../x", "--coordinator", "tcp://a:1"}).code, 2);
}

// --- help, man pages, completions ------------------------------------------------------------------------------

TEST(HelpTest, EveryCommandBeginsWithExamplesOfItself) {
  for (const Command& command : Commands()) {
    const std::vector<Example> examples = ExamplesOf(command);
    EXPECT_FALSE(examples.empty()) << command.name;
    for (const Example& example : examples) EXPECT_NE(example.line.find("hone "), std::string::npos) << example.line;
    Flags flags;
    const hone::Run run = command.define(flags);
    const std::string help = CommandHelp(command, flags, 80);
    EXPECT_LT(help.find("Examples:"), help.find("--help") == std::string::npos ? help.size() : help.find("--json"))
        << command.name;
  }
}

TEST(HelpTest, TopHelpFitsFortyLinesAndNamesEveryCommand) {
  const std::string help = TopHelp();
  EXPECT_LE(std::count(help.begin(), help.end(), '\n'), 40) << help;
  for (const Command& command : Commands())
    EXPECT_NE(help.find(std::string("  ") + command.name), std::string::npos) << command.name;
  for (const std::string& line : Split(help, '\n')) EXPECT_LE(DisplayWidth(line), 110U) << line;
}

TEST(HelpTest, HelpFitsNarrowWindows) {
  for (const Command& command : Commands()) {
    Flags flags;
    const hone::Run run = command.define(flags);
    for (const std::string& line : Split(flags.HelpText(40), '\n'))
      EXPECT_LE(DisplayWidth(line), 60U) << command.name << ": " << line;
  }
}

TEST(HelpTest, ManPagesAreMadeOfTheSameTables) {
  const std::string top = ManPage();
  for (const Command& command : Commands()) {
    EXPECT_NE(top.find(std::string(".B ") + command.name + "\n"), std::string::npos) << command.name;
    const std::string page = ManPage(command);
    EXPECT_EQ(page.rfind(".TH hone\\-", 0), 0U) << command.name;
    EXPECT_NE(page.find(".SH EXAMPLES"), std::string::npos) << command.name;
    EXPECT_NE(page.find("\\-\\-json"), std::string::npos) << command.name;
  }
  for (const ExitCodeRow& row : ExitCodes())
    EXPECT_NE(ExitCodesManPage().find(fmt::format(".B {}\n", row.code)), std::string::npos);
}

std::vector<std::string> WordsOf(const Completions& completions) {
  std::vector<std::string> words;
  for (const Completions::Word& word : completions.words) words.push_back(word.word);
  return words;
}

std::vector<Completions::Word> NoLookup(const std::string&) { return {}; }

TEST(CompletionTest, CommandsFlagsChoicesAndArguments) {
  EXPECT_EQ(WordsOf(Complete({"wat"}, NoLookup)), (std::vector<std::string>{"watch"}));
  EXPECT_GE(Complete({""}, NoLookup).words.size(), Commands().size());
  EXPECT_EQ(WordsOf(Complete({"watch", "--repl"}, NoLookup)), (std::vector<std::string>{"--replay"}));
  EXPECT_EQ(WordsOf(Complete({"compare", "--expect", "n"}, NoLookup)), (std::vector<std::string>{"not-slower"}));
  EXPECT_EQ(WordsOf(Complete({"completion", ""}, NoLookup)), (std::vector<std::string>{"bash", "zsh", "fish"}));
  EXPECT_TRUE(Complete({"optimize", ""}, NoLookup).files);
  EXPECT_TRUE(Complete({"optimize", "m.onnx", "-o", ""}, NoLookup).files);
  const auto lookup = [](const std::string& what) -> std::vector<Completions::Word> {
    return what == "jobs" ? std::vector<Completions::Word>{{"41", ""}, {"42", "mlp"}}
                          : std::vector<Completions::Word>{};
  };
  EXPECT_EQ(WordsOf(Complete({"watch", "42"}, lookup)), (std::vector<std::string>{"42"}));
  EXPECT_EQ(WordsOf(Complete({"compare", "--target", "1", "41", "4"}, lookup)), (std::vector<std::string>{"41", "42"}));
  EXPECT_TRUE(Complete({"watch", "42", ""}, lookup).words.empty());
  EXPECT_TRUE(Complete({"nonsense", ""}, lookup).words.empty());
}

TEST(CompletionTest, ShellsReadTheirScriptsAndJobsComeFromTheCoordinator) {
  FakeService service([](const proto::Frame& request, proto::Frame& reply) {
    if (request.has_ping()) reply.mutable_ping_reply();
    if (!request.has_list_jobs()) return;
    reply.mutable_list_jobs_reply();
    if (request.list_jobs().before() == 0) *reply.mutable_list_jobs_reply()->add_jobs() = FinishedJob();
  });
  const Ran words = Hone({"__complete", "watch", ""}, 60, {{"HONE_COORDINATOR", service.endpoint()}});
  EXPECT_EQ(words.out, "3\tmlp.onnx, complete\n");
  TempFolder folder;
  EXPECT_EQ(Hone({"__complete", "watch", ""}, 60, {{"HONE_COORDINATOR", "ipc://" + (folder / "nobody").string()}}).out,
            "");
  const std::string script = (folder / "hone.bash").string();
  std::ofstream(script) << Hone({"completion", "bash"}).out;
  ProcessOptions bash;
  bash.arguments = {"/bin/bash", "-c",
                    "PATH=" + fs::path(HONE_BIN_DIR).string() + ":$PATH; . " + script +
                        "; COMP_WORDS=(hone compl); COMP_CWORD=1; _hone; printf '%s\\n' \"${COMPREPLY[@]}\""};
  const auto output = RunCommand(bash, Deadline(30));
  ASSERT_TRUE(output) << output.error().message;
  EXPECT_EQ(output->out, "completion\n") << output->err;
}

// --- doctor ----------------------------------------------------------------------------------------------------------

TEST(DoctorTest, EachDisturbanceOfAMachineIsFoundWithItsRemedy) {
  TempFolder root;
  const auto found = [&] {
    std::map<std::string, Finding> rows;
    for (const Finding& finding : CheckMachineFiles(root.path())) rows[finding.check] = finding;
    return rows;
  };
  EXPECT_EQ(found().size(), 1U);   // The governor, which says that it is not there.
  WriteText(root / "proc/cpuinfo", "processor\t: 0\nmodel name\t: Old\nflags\t\t: fpu sse2\nprocessor\t: 1\n");
  WriteText(root / "sys/fs/cgroup/cpu.max", "150000 100000\n");
  WriteText(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n");
  WriteText(root / "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count", "17\n");
  WriteText(root / "proc/stat", "cpu  100 0 100 700 0 0 0 100 0 0\n");
  WriteText(root / "proc/meminfo",
            "MemTotal: 4000000 kB\nMemAvailable: 1000000 kB\nSwapTotal: 1000 kB\nSwapFree: 100 kB\n");
  WriteText(root / "proc/loadavg", "3.50 1.0 1.0 1/100 1\n");
  WriteText(root / "sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet\n");
  fs::create_directories(root / "sys/devices/system/node/node0");
  fs::create_directories(root / "sys/devices/system/node/node1");
  const auto rows = found();
  for (const char* check : {"processor", "processor quota", "governor", "heat", "stolen time", "memory", "swap",
                            "other load", "clock", "memory nodes"}) {
    ASSERT_TRUE(rows.count(check)) << check;
    EXPECT_EQ(rows.at(check).health, Health::warning) << check;
    EXPECT_FALSE(rows.at(check).remedy.empty()) << check;
  }
  EXPECT_NE(rows.at("processor quota").detail.find("1.5 processors"), std::string::npos);
}

TEST(DoctorTest, BlamesTheFirstCauseAlone) {
  TempFolder folder;
  WriteText(folder / "broken", "#!/bin/sh\necho 'libonnxruntime.so.1: cannot open shared object file' >&2\nexit 127\n");
  ::chmod((folder / "broken").c_str(), 0755);
  fs::copy_file(Program("hone"), folder / "hone");   // Alone in its folder: it finds its sisters by their variables.
  ProcessOptions options;
  options.arguments = {(folder / "hone").string(), "doctor", "--json", "--coordinator", "tcp://127.0.0.1:1"};
  options.environment = {{"HONE_WORKER", (folder / "broken").string()},
                         {"HONE_COORDINATOR_PROGRAM", Program("hone-coordinator").string()},
                         {"HOME", folder.path().string()},
                         {"HONE_KEYS", ""}};
  const auto output = RunCommand(options, Deadline(60));
  ASSERT_TRUE(output) << output.error().message;
  EXPECT_EQ(output->status.code, 1);
  std::map<std::string, std::string> states;
  const nlohmann::json document = nlohmann::json::parse(output->out);
  for (const auto& check : document.at("checks")) states[check.at("check")] = check.at("state");
  EXPECT_EQ(states["hone-worker"], "fault");
  for (const char* name : {"runtimes", "backend", "sandbox", "service"}) EXPECT_EQ(states[name], "skipped") << name;
  EXPECT_EQ(states["network"], "fault");
  for (const char* name : {"coordinator", "workers"}) EXPECT_EQ(states[name], "skipped") << name;
  EXPECT_EQ(document.at("faults"), 2);
}

}  // namespace
}  // namespace hone::test
