#include "bench/search/ask_time.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <vector>

#include "bench/search/problem.h"
#include "common/recipe/recipe_yaml.h"
#include "common/recipe/value.h"
#include "coordinator/search/sampler.h"

namespace hone {
namespace {

constexpr size_t kAsks = 100;

double Now() {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Seven parameters of each kind: choices, whole numbers, numbers (some over the logarithm).
Space SpaceOf21() {
  proto::Catalogue catalogue;
  proto::PassInfo* pass = catalogue.add_passes();
  pass->set_name("all");
  pass->add_accepts("onnx");
  std::string yaml = "passes:\n  - all:\n";
  const auto add = [&](const std::string& name, proto::ParameterInfo::Type type) {
    proto::ParameterInfo* info = pass->add_parameters();
    info->set_name(name);
    info->set_type(type);
  };
  for (int i = 0; i < 7; ++i) {
    add(fmt::format("c{}", i), proto::ParameterInfo::TEXT);
    add(fmt::format("i{}", i), proto::ParameterInfo::INTEGER);
    add(fmt::format("r{}", i), proto::ParameterInfo::REAL);
    yaml += fmt::format("      c{}: [a, b, c, d]\n      i{}: {{range: [1, 32]}}\n      r{}: {{range: [0.001, 1]{}}}\n",
                        i, i, i, i % 2 == 0 ? ", log: true" : "");
  }
  yaml += "backends: {bench: }\n";
  proto::BackendInfo* backend = catalogue.add_backends();
  backend->set_name("bench");
  backend->add_formats("onnx");
  backend->set_reference(true);
  return *Space::Build(*ParseRecipe(yaml, "21.yaml"), catalogue, {"onnx", true, true, {}});
}

std::vector<double> ValuesOf(const CodedSpace& coded, const Point& point, size_t objectives) {
  std::vector<double> values(objectives, 0.1);
  for (size_t d = 0; d < coded.size(); ++d) {
    if (coded[d].IsFixed()) continue;
    const double scaled = coded[d].Scaled(point[d]);
    for (size_t o = 0; o < objectives; ++o) values[o] += std::pow(scaled - (o == 0 ? 0.3 : 0.6), 2);
  }
  return values;
}

}  // namespace

int PrintAskTimes() {
  const Space space = SpaceOf21();
  const CodedSpace coded(space);
  fmt::print("| sampler | objectives | finished trials | ms an ask, median | 90 % |\n|---|---|---|---|---|\n");
  for (const char* name : {"tpe", "nsga2", "local", "auto"}) {
    for (const size_t objectives : {1, 2}) {
      auto sampler = *MakeSampler(name);
      std::vector<Observation> observations;
      std::vector<double> times;
      // As the scheduler tells it: of the trials told before, none became another.
      const std::vector<size_t> replaced;
      StudyView view{&space, &observations, 7, 1, 0, false};
      view.replaced = &replaced;
      // The history is by chance; while the clock runs, the sampler's own proposals.
      auto random = *MakeSampler("random");
      for (size_t done = 0; done < 1000 + kAsks; ++done) {
        const bool timed = (done >= 100 && done < 100 + kAsks) || (done >= 500 && done < 500 + kAsks) || done >= 1000;
        const StudyView random_view{&space, &observations, 7, 2, 0, false};
        const double begin = Now();
        const auto asked = (timed ? sampler : random)->Ask(timed ? view : random_view, done + 1);
        times.push_back(Now() - begin);
        Observation observation;
        observation.trial = done + 1;
        observation.assignment = **asked;
        observation.state = proto::TRIAL_COMPLETE;
        observation.values = ValuesOf(coded, *coded.Encode(**asked), objectives);
        observations.push_back(std::move(observation));
      }
      for (const size_t at : {100, 500, 1000}) {
        // The first ask of a stretch reads the history that was told meanwhile.
        std::vector<double> stretch(times.begin() + static_cast<std::ptrdiff_t>(at) + 1,
                                    times.begin() + static_cast<std::ptrdiff_t>(at + kAsks));
        std::sort(stretch.begin(), stretch.end());
        fmt::print("| {} | {} | {} | {:.3f} | {:.3f} |\n", name, objectives, at, stretch[stretch.size() / 2],
                   stretch[stretch.size() * 9 / 10]);
        std::fflush(stdout);
      }
    }
  }
  return 0;
}

}  // namespace hone
