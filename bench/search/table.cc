// The columns of a table: candidate (canonical JSON, quoted), accuracy_drop, size_bytes, latency samples in
// milliseconds separated by spaces.
#include <fmt/format.h>
#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <sstream>
#include <unordered_map>

#include "bench/search/problem.h"
#include "common/base/file.h"
#include "common/recipe/recipe_yaml.h"
#include "common/recipe/value.h"

namespace hone {
namespace {

constexpr uint64_t kMaxFileBytes = uint64_t{64} << 20;

struct Entry {
  Truth truth;
  std::vector<double> samples;
};

double MedianOf(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// One line; the first field may be quoted with doubled quotes inside.
std::vector<std::string> FieldsOf(const std::string& line) {
  std::vector<std::string> fields(1);
  bool quoted = false;
  for (size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '"' && quoted && i + 1 < line.size() && line[i + 1] == '"') {
      fields.back() += line[++i];
    } else if (line[i] == '"') {
      quoted = !quoted;
    } else if (line[i] == ',' && !quoted) {
      fields.emplace_back();
    } else {
      fields.back() += line[i];
    }
  }
  return fields;
}

class Table : public Problem {
 public:
  static Result<std::unique_ptr<Problem>> Load(const std::string& stem) {
    TRY_ASSIGN(const std::string yaml, ReadFile(stem + ".yaml", kMaxFileBytes));
    TRY_ASSIGN(const proto::Recipe recipe, ParseRecipe(yaml, stem + ".yaml"));
    TRY_ASSIGN(const std::string text, ReadFile(stem + ".catalogue", kMaxFileBytes));
    proto::Catalogue catalogue;
    if (!google::protobuf::util::JsonStringToMessage(text, &catalogue).ok())
      return Fail(ErrorCode::kRejected, stem + ".catalogue cannot be read");
    TRY_ASSIGN(Space space, Space::Build(recipe, catalogue, {"onnx", true, true, {}}));
    auto table = std::make_unique<Table>();
    table->name_ = stem.substr(stem.rfind('/') + 1);
    table->SetSpace(space);
    TRY(table->Read(stem + ".csv"));
    return table;
  }

  Truth At(const Point& point) const override { return EntryOf(point).truth; }
  double ObservedDrop(const Point& point) const override { return EntryOf(point).truth.drop; }
  double MeasuredLatency(const Point& point, uint64_t seed) const override {
    const Entry& entry = EntryOf(point);
    return entry.samples.empty() ? entry.truth.latency : entry.samples[Mix(seed) % entry.samples.size()];
  }

 private:
  // What could not be measured is never a good answer.
  const Entry& EntryOf(const Point& point) const {
    static const Entry failed = {{std::numeric_limits<double>::infinity(), std::numeric_limits<double>::infinity()},
                                 {}};
    const auto entry = entries_.find(point);
    return entry == entries_.end() ? failed : entry->second;
  }

  Result<> Read(const std::string& path) {
    TRY_ASSIGN(const std::string text, ReadFile(path, kMaxFileBytes));
    std::istringstream lines(text);
    std::string line;
    std::getline(lines, line);
    std::vector<double> drops;
    while (std::getline(lines, line)) {
      const std::vector<std::string> fields = FieldsOf(line);
      if (fields.size() < 4) return Fail(ErrorCode::kRejected, fmt::format("{}: '{}' is no row", path, line));
      TRY_ASSIGN(const proto::Candidate candidate, ParseCanonicalCandidate(fields[0]));
      const auto assignment = space_.FromCandidate(candidate);
      const auto point = assignment ? coded_->Encode(*assignment) : std::nullopt;
      if (!point)
        return Fail(ErrorCode::kRejected, fmt::format("{}: {} is not in the recipe's space", path, fields[0]));
      Entry entry;
      entry.truth.drop = std::stod(fields[1]);
      std::istringstream samples(fields[3]);
      for (double sample = 0; samples >> sample;) entry.samples.push_back(sample);
      if (entry.samples.empty()) continue;
      entry.truth.latency = MedianOf(entry.samples);
      drops.push_back(entry.truth.drop);
      entries_[*point] = std::move(entry);
    }
    if (drops.empty()) return Fail(ErrorCode::kRejected, path + " has no rows");
    // A bound that a good part of the candidates breaks.
    std::sort(drops.begin(), drops.end());
    bound_ = drops[drops.size() / 2];
    optimum_ = std::numeric_limits<double>::infinity();
    fallback_ = 0;
    for (const auto& [point, entry] : entries_) {
      if (entry.truth.drop <= bound_) optimum_ = std::min(optimum_, entry.truth.latency);
    }
    for (const Assignment& preset : space_.Presets()) {
      if (const auto point = coded_->Encode(preset); point && entries_.contains(*point) && fallback_ == 0)
        fallback_ = entries_.at(*point).truth.latency;
    }
    return {};
  }

  std::unordered_map<Point, Entry, PointHash> entries_;
};

}  // namespace

Result<std::unique_ptr<Problem>> LoadTable(const std::string& stem) { return Table::Load(stem); }

}  // namespace hone
