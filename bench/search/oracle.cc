#include "bench/search/oracle.h"

#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>

#include "bench/search/problem.h"

namespace hone {
namespace {

using Json = nlohmann::ordered_json;

Json Described(const Problem& problem) {
  Json reply;
  const auto& dimensions = problem.space().dimensions();
  for (size_t d = 0; d < dimensions.size(); ++d) {
    Json dimension;
    dimension["name"] = dimensions[d].name;
    dimension["choices"] = dimensions[d].choices.size();
    dimension["low"] = dimensions[d].low;
    dimension["high"] = dimensions[d].high;
    dimension["step"] = dimensions[d].step;
    dimension["log"] = dimensions[d].log;
    dimension["integer"] = dimensions[d].integer;
    dimension["conditions"] = Json::array();
    for (const auto& condition : problem.coded()[d].conditions) {
      Json values = Json::array();
      for (size_t i = 0; i < condition.holds.size(); ++i) {
        if (condition.holds[i]) values.push_back(i);
      }
      dimension["conditions"].push_back({condition.dimension, values});
    }
    reply["dimensions"].push_back(dimension);
  }
  reply["bound"] = problem.bound();
  reply["optimum"] = problem.optimum();
  reply["fallback"] = problem.fallback();
  return reply;
}

Result<std::unique_ptr<Problem>> Opened(const std::string& name) {
  unsigned seed = 0;
  char kind = 0;
  if (std::sscanf(name.c_str(), "mixed%u%c", &seed, &kind) == 2) return MakeMixedPrecision(seed, kind == 'i');
  return LoadTable(name);
}

}  // namespace

int ServeOracle() {
  std::unique_ptr<Problem> problem;
  std::string line;
  while (std::getline(std::cin, line)) {
    const Json request = Json::parse(line, nullptr, false);
    Json reply;
    if (request.contains("open")) {
      auto opened = Opened(request["open"].get<std::string>());
      if (!opened) {
        std::cerr << opened.error().message << "\n";
        return 9;
      }
      problem = *std::move(opened);
      reply = Described(*problem);
    } else if (problem != nullptr && request.contains("measure") &&
               request["measure"].size() == problem->coded().size()) {
      Point point;
      for (const Json& value : request["measure"]) point.push_back(value.is_null() ? kAbsent : value.get<double>());
      if (problem->coded().IsPossible(point)) {
        const Truth truth = problem->At(point);
        reply["drop"] = problem->ObservedDrop(point);
        reply["latency"] = problem->MeasuredLatency(point, request["seed"].get<uint64_t>());
        reply["true_drop"] = truth.drop;
        reply["true_latency"] = truth.latency;
      } else {
        reply["invalid"] = true;
      }
    } else {
      std::cerr << "this line asks for nothing: " << line << "\n";
      return 2;
    }
    std::cout << reply.dump() << std::endl;
  }
  return 0;
}

}  // namespace hone
