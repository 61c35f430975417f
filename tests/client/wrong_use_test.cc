// Fifty ways of using the command wrongly: each is answered with the exit code of its kind, a message that names the
// thing, and what to do.
#include <gtest/gtest.h>

#include "tests/client/fake_service.h"
#include "tests/client/fixtures.h"
#include "tests/support/programs.h"

namespace hone::test {
namespace {

struct WrongUse {
  std::vector<std::string> words;
  int code;
  std::vector<std::string> says;    // All of these stand in what it writes to stderr.
};

// "@" stands for the test's folder, "EP" for the endpoint of a coordinator with one job, 3, whose trials are 0 and 7.
const std::vector<WrongUse>& WrongUses() {
  static const std::vector<WrongUse> rows = {
      // Words that nobody knows.
      {{}, 2, {"no command was given", "hone optimize"}},
      {{"optimise", "m.onnx"}, 2, {"no command 'optimise'", "'optimize'", "hone --help"}},
      {{"statsu", "3"}, 2, {"'statsu'", "'status'"}},
      {{"completions", "bash"}, 2, {"'completion'"}},
      {{"--json", "jobs"}, 2, {"options come after the command", "--json"}},
      {{"help", "wach"}, 2, {"'watch'"}},
      {{"optimize", "m.onnx", "-o", "@/out", "--calibraton", "d.npz"},
       2,
       {"no option '--calibraton'", "'--calibration'", "hone optimize --help"}},
      {{"benchmark", "m.onnx", "--backed", "openvino"}, 2, {"'--backed'", "'--backend'"}},
      {{"jobs", "--limt", "5"}, 2, {"'--limit'"}},
      {{"config", "shwo"}, 2, {"'shwo'", "'show'"}},
      {{"context", "ad", "lab"}, 2, {"'ad'", "'add'"}},
      {{"completion", "bsh"}, 2, {"'bsh'", "bash, zsh, fish", "'bash'"}},
      {{"jobs", "--color", "alwys"}, 2, {"'alwys'", "'always'"}},
      {{"import", "oliv", "c.json"}, 2, {"oliv", "olive"}},
      {{"keys", "nwe", "client", "--keys", "@/keys"}, 2, {"nwe", "new"}},
      {{"nightly", "rnu", "s.yaml"}, 2, {"rnu", "run"}},
      // Words of other tools.
      {{"quantize", "m.onnx"}, 2, {"no command 'quantize'", "'apply' or 'optimize'"}},
      {{"bench", "m.onnx"}, 2, {"'benchmark'"}},
      {{"optimize", "m.onnx", "--fp16", "-o", "@/out"}, 2, {"no option '--fp16'", "'--precision fp16'"}},
      {{"apply", "m.onnx", "--int8", "-o", "@/o.onnx"}, 2, {"'--pass dynamic_int8' or '--pass static_int8'"}},
      {{"benchmark", "m.onnx", "--iterations", "100"}, 2, {"no option '--iterations'", "'--pairs'"}},
      {{"benchmark", "--onnx=m.onnx"}, 2, {"no option '--onnx'", "'MODEL'"}},
      {{"check", "@/foreign.yaml"}, 9, {"foreign.yaml:1:25", "'latency'", "'latency_ms_p50'"}},
      {{"passes", "OnnxStaticQuantization"}, 8, {"'OnnxStaticQuantization'", "'static_int8'"}},
      // What is missing or too much.
      {{"optimize", "m.onnx"}, 2, {"-o DIR is missing"}},
      {{"apply", "m.onnx", "-o", "@/o.onnx"}, 2, {"--pass", "is missing"}},
      {{"evaluate", "m.onnx", "--against", "n.onnx"}, 2, {"--data"}},
      {{"evaluate", "m.onnx", "--against", "labels", "--data", "d.npz", "--max-accuracy-drop", "1%"},
       2,
       {"needs a model in --against", "the original"}},
      {{"status"}, 2, {"JOB is missing", "hone status --help"}},
      {{"compare", "3"}, 2, {"B is missing"}},
      {{"status", "3", "4"}, 2, {"unexpected argument '4'"}},
      {{"context", "add", "lab"}, 2, {"names its coordinator", "hone context add lab --coordinator"}},
      {{"context", "use"}, 2, {"needs the name of a context"}},
      {{"jobs", "--limit"}, 2, {"--limit needs a value"}},
      {{"jobs", "--limit", "1", "--limit", "2"}, 2, {"--limit is given 2 times"}},
      // Values that do not fit.
      {{"jobs", "--limit", "0"}, 2, {"--limit", "whole number from 1 to"}},
      {{"jobs", "--limit", "many"}, 2, {"--limit many", "whole number"}},
      {{"status", "first"}, 2, {"'first' is no job number", "hone jobs"}},
      {{"get", "3/x", "-o", "@/out"}, 2, {"'3/x'", "JOB/TRIAL"}},
      {{"wait", "3", "--timeout", "soon"}, 2, {"--timeout soon", "90s"}},
      {{"watch", "3", "--replay", "fast"}, 2, {"--replay fast", "60x"}},
      {{"watch", "3", "--events", "xml"}, 2, {"'xml'", "jsonl"}},
      {{"compare", "3", "3/0", "--expect", "quicker"}, 2, {"'quicker'", "faster, not-slower, equal"}},
      {{"compare", "3", "3/0", "--delta", "200%"}, 2, {"--delta 200%", "2%"}},
      {{"plan", "m.onnx", "--resolve", "small"}, 2, {"--resolve small", "1%"}},
      {{"benchmark", "m.onnx", "--expect", "faster"}, 2, {"--expect needs something to compare with", "--vs"}},
      {{"benchmark", "m.onnx", "--rate", "-1"}, 2, {"--rate -1", "requests a second"}},
      {{"submit", "m.onnx", "--priority", "high"}, 2, {"--priority high", "-100 to 100"}},
      {{"jobs", "--coordinator", "lab-1:5710"}, 2, {"lab-1:5710", "tcp://"}},
      {{"jobs", "--context", "nowhere"}, 2, {"'nowhere'"}},
      // What is not there.
      {{"status", "4", "--coordinator", "EP"}, 8, {"job 4", "hone jobs"}},
      {{"compare", "3", "3/99", "--coordinator", "EP"}, 8, {"no trial 99", "hone trials 3"}},
      {{"jobs", "--coordinator", "ipc://@/nobody"},
       6,
       {"no coordinator answers at ipc://", "hone-coordinator --listen"}},
      {{"inspect", "@/missing.onnx"}, 9, {"missing.onnx"}},
      {{"optimize", "@/missing.onnx", "-o", "@/out"}, 9, {"missing.onnx"}},
      {{"check", "@/missing.yaml"}, 9, {"missing.yaml"}},
      {{"fsck", "@/missing"}, 8, {"missing"}},
      {{"jobs", "--keys", "@/nokeys", "--coordinator", "EP"}, 8, {"nokeys"}},
      // What is not what it should be.
      {{"check", "@/typo.yaml"}, 9, {"typo.yaml:2:3", "'trails'", "'trials'"}},
      {{"check", "@/twice.yaml"}, 9, {"twice.yaml:3:3", "trials"}},
      {{"optimize", "m.onnx", "--recipe", "@/several.yaml", "-o", "@/out"},
       9,
       {"several.yaml:1:10: unknown key 'trails'", "several.yaml:1:27: 'seed' must be a whole number",
        "several.yaml:2:11: unknown key 'pair'", "did you mean 'pairs'"}},
      {{"optimize", "@/text.onnx", "-o", "@/out"}, 9, {"text.onnx"}},
      {{"watch", "3", "--since", "-5"}, 2, {"--since"}},
  };
  return rows;
}

void JobThree(const proto::Frame& request, proto::Frame& reply) {
  if (request.has_ping()) reply.mutable_ping_reply();
  if (request.has_list_trials()) {
    *reply.mutable_list_trials_reply()->add_trials() = Trial(0, proto::TRIAL_COMPLETE);
    *reply.mutable_list_trials_reply()->add_trials() = Trial(7, proto::TRIAL_COMPLETE);
  }
  if (!request.has_get_job()) return;
  if (request.get_job().job() == 3) {
    *reply.mutable_get_job_reply()->mutable_job() = FinishedJob();
  } else {
    reply.mutable_error()->set_code(proto::Error::NOT_FOUND);
    reply.mutable_error()->set_message("there is no job 4");
    reply.mutable_error()->set_remedy("`hone jobs` lists them.");
  }
}

std::string Replaced(std::string text, const std::string& what, const std::string& with) {
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + with.size()))
    text.replace(at, what.size(), with);
  return text;
}

TEST(WrongUseTest, FiftyWrongUsesAreEachAnsweredSufficiently) {
  TempFolder folder;
  FakeService service(JobThree);
  std::ofstream(folder / "typo.yaml") << "search:\n  trails: 3\n";
  std::ofstream(folder / "foreign.yaml") << "objectives: [{minimize: latency}]\n";
  std::ofstream(folder / "several.yaml") << "search: {trails: 3, seed: x}\nmeasure: {pair: 3}\n";
  std::ofstream(folder / "twice.yaml") << "search:\n  trials: 3\n  trials: 4\n";
  std::ofstream(folder / "text.onnx") << "this is no model";
  EXPECT_GE(WrongUses().size(), 50U);
  for (const WrongUse& row : WrongUses()) {
    std::vector<std::string> words;
    for (const std::string& word : row.words) {
      words.push_back(word == "EP" ? service.endpoint() : Replaced(word, "@", folder.path().string()));
    }
    const Ran ran = Hone(words, 60, {{"HOME", folder.path().string()}}, folder.path());
    std::string line = "hone";
    for (const std::string& word : row.words) line += " " + word;
    if (std::getenv("HONE_SHOW") != nullptr) printf("$ %s   [%d]\n%s\n", line.c_str(), ran.code, ran.err.c_str());
    EXPECT_EQ(ran.code, row.code) << line << "\n" << ran.err;
    const bool json = std::find(words.begin(), words.end(), "--json") != words.end();
    EXPECT_EQ(ran.out.empty(), !json) << line;
    EXPECT_EQ(ran.err.rfind("hone: ", 0), 0U) << line << "\n" << ran.err;
    for (const std::string& part : row.says)
      EXPECT_NE(ran.err.find(part), std::string::npos) << line << " lacks " << part << "\n" << ran.err;
  }
}

}  // namespace
}  // namespace hone::test
