// Before: what an exporter wrote: shape arithmetic, constants computed at run time, identities, unmerged
// BatchNormalization. After:  the same function, with what is known beforehand computed beforehand.
//
// The steps feed each other (a folded shape makes a Reshape an identity, which brings two nodes together that compute
// the same), so rounds go on until one changes nothing. Shapes are inferred anew in each round from the inputs alone:
// see ReinferShapes.
#include "worker/passes/simplify.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "common/base/strings.h"
#include "common/recipe/value.h"
#include "worker/passes/simplify_steps.h"

namespace hone {
namespace {

constexpr int kMaxRounds = 16;  // Real models settle within five.
constexpr int64_t kMaxFoldBytes = 1 << 20;

// Before IR version 4 every initializer had to be declared as an input, which says nothing about whether callers may
// replace it.
void DropInitializerInputs(onnx::ModelProto& model) {
  if (model.ir_version() >= 4) return;
  onnx::GraphProto& graph = *model.mutable_graph();
  google::protobuf::RepeatedPtrField<onnx::ValueInfoProto> inputs;
  for (const auto* input : RealInputs(graph)) *inputs.Add() = *input;
  graph.mutable_input()->Swap(&inputs);
  model.set_ir_version(4);
}

// What each step did over all rounds, for people.
class Tally {
 public:
  int Add(const char* what, int count) {
    if (count > 0) counts_[what] += count;
    return count;
  }
  std::string Text() const {
    std::vector<std::string> words;
    for (const auto& [what, count] : counts_) words.push_back(fmt::format("{} {}", count, what));
    return Join(words, ", ");
  }

 private:
  std::map<std::string, int> counts_;
};

Result<bool> RunRound(onnx::ModelProto& model, PassContext& context, Tally& tally) {
  onnx::GraphProto& graph = *model.mutable_graph();
  KnownValues known;
  ReinferShapes(model, &known);
  const ValueTypes types(graph);
  int changes = LiftConstants(graph);
  changes += tally.Add("branches inlined", InlineBranches(graph));
  changes += tally.Add("shapes computed", FoldKnownValues(graph, types, known));
  std::vector<std::string> notes;
  TRY_ASSIGN(const int folded,
             FoldConstants(model, types, static_cast<uint64_t>(context.Int("max_fold_bytes")), notes));
  changes += tally.Add("constant nodes folded", folded);
  changes += tally.Add("identities removed", RemoveIdentities(graph, types));
  changes += tally.Add("neighbours merged", MergeNeighbours(graph, types, context.Bool("cast_chains")));
  changes += tally.Add("duplicates merged", MergeEqual(graph));
  changes += tally.Add("BatchNormalization merged", FoldBatchNorm(graph));
  TRY(SortNodes(graph));
  changes += RemoveUnused(graph);
  // The last round's notes are those that still hold.
  std::erase_if(context.notes, [](const std::string& note) { return note.starts_with("not folded"); });
  context.notes.insert(context.notes.end(), notes.begin(), notes.end());
  return changes > 0;
}

}  // namespace

proto::PassInfo SimplifyInfo() {
  proto::PassInfo info;
  info.set_name("simplify");
  info.set_version(2);
  info.set_summary(
      "Folds constants and shapes, removes what changes nothing, merges duplicates, neighbours and "
      "BatchNormalization, infers shapes");
  proto::ParameterInfo limit = IntParameter("max_fold_bytes", kMaxFoldBytes, {},
                                            "Largest folded constant that may make the model larger, in bytes.");
  *limit.mutable_minimum() = IntValue(0);
  *info.add_parameters() = limit;
  *info.add_parameters() = BoolParameter(
      "cast_chains", false, "Drops casts to another float type and back, and with them their rounding.");
  info.add_accepts("onnx");
  return info;
}

Result<> Simplify(onnx::ModelProto& model, PassContext& context) {
  const int before = model.graph().node_size();
  DropInitializerInputs(model);
  TRY(SortNodes(*model.mutable_graph()));
  Tally tally;
  bool changed = true;
  for (int round = 0; changed && round < kMaxRounds; ++round) {
    TRY_ASSIGN(changed, RunRound(model, context, tally));
  }
  if (changed) ReinferShapes(model);
  context.notes.insert(context.notes.begin(), fmt::format("{} nodes became {}", before, model.graph().node_size()));
  if (!tally.Text().empty()) context.notes.push_back(tally.Text());
  return {};
}

}  // namespace hone
