#include "coordinator/search/plan.h"

#include <algorithm>

namespace hone {
namespace {

constexpr size_t kMaxStates = 200'000;

std::string CompletionKey(size_t stage, const SpacePlan::Prefix& prefix, const Rivals& rivals) {
  std::string key;
  key.reserve(2 * rivals.size() + 4);
  const auto add = [&](size_t number) {
    key += static_cast<char>(number & 0xff);
    key += static_cast<char>(number >> 8 & 0xff);
  };
  add(stage);
  add(static_cast<size_t>(prefix.format));
  for (const uint16_t options : rivals) add(options);
  for (uint64_t barred = prefix.barred; barred != 0; barred >>= 16) add(barred);
  return key;
}

bool HasNone(const StagePlan& stage, size_t options) {
  return std::any_of(stage.options.begin(), stage.options.begin() + static_cast<std::ptrdiff_t>(options),
                     [](const OptionPlan& option) { return option.pass.empty(); });
}

}  // namespace

Rivals SpacePlan::RivalsAfter(const Rivals& rivals, size_t stage, size_t option, const Part* part) const {
  if (!ambiguous) return rivals;
  const size_t end = stages.size();
  const auto everything = [&](size_t at) {
    return at == end ? uint16_t{1} : static_cast<uint16_t>(stages[at].options.size());
  };
  // The options before ours at this stage are rivals too. Leave `none` behind wherever a rival may take it.
  Rivals before = rivals;
  before[stage] = std::max(before[stage], static_cast<uint16_t>(option));
  for (size_t at = 0; at < end; ++at) {
    if (before[at] > 0 && HasNone(stages[at], before[at])) before[at + 1] = everything(at + 1);
  }
  Rivals after = NoRivals();
  if (part == nullptr) {
    after = before;
  } else {
    for (const auto& [at, index] : part->places) {
      if (index < before[at]) after[at + 1] = everything(at + 1);
    }
    for (size_t at = 0; at < end; ++at) {
      if (after[at] > 0 && HasNone(stages[at], after[at])) after[at + 1] = everything(at + 1);
    }
  }
  // A rival that waits behind us can only take a step that we may take later, too.
  for (size_t at = 0; at <= stage; ++at) {
    if (!stages[at].shared) after[at] = 0;
  }
  return after;
}

Count SpacePlan::BackendsFor(const Prefix& prefix) const {
  Count count;
  for (size_t b = 0; b < backends.size(); ++b) {
    if (Runs(b, prefix)) count = count + backends[b].count;
  }
  return count;
}

Result<Count> SpacePlan::CountCompletions(size_t stage, const Prefix& prefix, const Rivals& rivals) {
  const std::string key = CompletionKey(stage, prefix, rivals);
  if (const auto found = completions.find(key); found != completions.end()) return found->second;
  if (completions.size() >= kMaxStates) {
    return Fail(ErrorCode::kRejected,
                "the same passes are listed at so many places that their pipelines cannot be counted",
                "List each pass at one place, with its parameters as lists");
  }
  Count count;
  const bool rival_is_here = stage == stages.size() ? rivals[stage] > 0 : rivals[stage] == stages[stage].options.size();
  if (!rival_is_here && stage == stages.size()) {
    count = BackendsFor(prefix);
  } else if (!rival_is_here) {
    for (size_t i = 0; i < stages[stage].options.size(); ++i) {
      const OptionPlan& option = stages[stage].options[i];
      if (option.pass.empty()) {
        TRY_ASSIGN(const Count rest, CountCompletions(stage + 1, prefix, RivalsAfter(rivals, stage, i, nullptr)));
        count = count + rest;
        continue;
      }
      const int next = option.next_format[static_cast<size_t>(prefix.format)];
      if (next < 0) continue;
      for (const Part& part : option.parts) {
        TRY_ASSIGN(const Count rest, CountCompletions(stage + 1, {next, prefix.barred | part.barred},
                                                      RivalsAfter(rivals, stage, i, &part)));
        count = count + part.steps.from[0] * rest;
      }
    }
  }
  completions.emplace(key, count);
  return count;
}

Count SpacePlan::Completions(size_t stage, const Prefix& prefix, const Rivals& rivals) const {
  const auto found = completions.find(CompletionKey(stage, prefix, rivals));
  return found == completions.end() ? Count{} : found->second;
}

}  // namespace hone
