// The pass runs once; its result is compared with the original; one model with a switch a group is compiled and run. A
// group's loss is what the outputs lose end to end with its switch alone turned on. For G groups and N samples that
// takes N * (G + 2) inferences and no compilation beyond the first, where trying each group by itself would take G
// builds, G calibrations and G compilations more.
//
// Times are of operators, not of models: a group's operators in both forms are compiled alone (equal operators once)
// and run in turn on what the first sample feeds them.
#include "worker/sensitivity/sensitivity.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>
#include <map>
#include <memory>
#include <optional>

#include "common/base/clock.h"
#include "common/base/digest.h"
#include "common/base/file.h"
#include "common/base/machine_lock.h"
#include "common/base/strings.h"
#include "worker/backends/backend.h"
#include "worker/data/data_set.h"
#include "worker/evaluation/accuracy.h"
#include "worker/model/model.h"
#include "worker/passes/layer_groups.h"
#include "worker/passes/pass.h"
#include "worker/passes/quantization_graph.h"
#include "worker/sensitivity/changes.h"
#include "worker/sensitivity/groups.h"
#include "worker/sensitivity/half_form.h"
#include "worker/sensitivity/switches.h"

namespace hone {
namespace {

namespace fs = std::filesystem;

// What protobuf can serialize in one piece, with room for what is added.
constexpr uint64_t kMaxMessageBytes = 1'900'000'000;
// A round of timing lasts at least this long in each form; enough rounds for a steady median.
constexpr double kRoundMs = 2;
constexpr int kRounds = 9;

std::vector<InputSignature> SignatureOf(const onnx::GraphProto& graph,
                                        const google::protobuf::RepeatedPtrField<proto::InputShape>& pins) {
  std::vector<InputSignature> signature;
  for (const auto* input : RealInputs(graph)) {
    signature.push_back(
        {input->name(), input->type().tensor_type().elem_type(), DimsOf(*input).value_or(std::vector<int64_t>())});
    for (const auto& pin : pins) {
      if (pin.name() == input->name()) signature.back().dims.assign(pin.dims().begin(), pin.dims().end());
    }
  }
  return signature;
}

Result<std::unique_ptr<Session>> Compile(onnx::ModelProto&& model, int threads, bool optimize) {
  if (model.ByteSizeLong() <= kMaxMessageBytes) return LoadOnnxBytes(model.SerializeAsString(), threads, optimize);
  TRY_ASSIGN(const ScopedFolder folder, ScopedFolder::Make(fs::temp_directory_path(), "hone-sensitivity-"));
  TRY_ASSIGN(const proto::Bundle bundle, SaveOnnx(std::move(model), folder.path()));
  return LoadOnnxFile(folder.path() / bundle.main(), threads, optimize);
}

// A sample with further inputs, in the session's order.
Result<std::vector<Tensor>> Feed(const Session& session, const std::vector<Tensor>& sample,
                                 const std::vector<InputSignature>& signature, const Tensor* more) {
  std::vector<Tensor> inputs;
  for (const InputSignature& wanted : session.inputs()) {
    if (more != nullptr && wanted.name == more->name) {
      inputs.push_back(*more);
      continue;
    }
    const auto found = std::find_if(signature.begin(), signature.end(),
                                    [&](const InputSignature& one) { return one.name == wanted.name; });
    CHECK_THAT(found != signature.end());
    inputs.push_back(sample[static_cast<size_t>(found - signature.begin())]);
    inputs.back().name = wanted.name;
  }
  return inputs;
}

// --- one step --------------------------------------------------------------------------------------------------

// A step's model beside the original, as they are compared.
struct Forms {
  onnx::ModelProto original;
  onnx::ModelProto built;
  std::vector<Change> changes;
  std::vector<ChangeGroup> groups;
};

struct Measured {
  double accuracy = 0;
  double loss = 0;
  std::optional<double> sqnr_db;
};

class Sensitivity {
 public:
  explicit Sensitivity(const proto::SensitivityTask& task) : task_(task) {}

  Result<proto::SensitivityResult> Run() {
    TRY(Prepare());
    for (int step = 0; step < task_.steps_size(); ++step) {
      Result<> done = RunStep(step);
      if (!done) return FailWith(task_.steps(step).pass(), std::move(done.error()));
    }
    Sort();
    result_.set_samples(Samples());
    return std::move(result_);
  }

 private:
  Result<> Prepare() {
    if (task_.steps().empty()) return Fail(ErrorCode::kRejected, "no pass is named", "Give --pass NAME.");
    if (task_.model().bundle().format() != "onnx") {
      return Fail(ErrorCode::kRejected, fmt::format("sensitivity takes onnx models, not {}",
                                                    Printable(task_.model().bundle().format(), 100)));
    }
    TRY_ASSIGN(grouping_, ParseGrouping(task_.groups()));
    TRY_ASSIGN(model_, LoadOnnx(fs::path(task_.model().folder()) / task_.model().bundle().main()));
    TRY(CheckModel(model_));
    TRY(SortNodes(*model_.mutable_graph()));
    signature_ = SignatureOf(model_.graph(), task_.inputs());
    TRY_ASSIGN(data_, OpenDataSet(task_.evaluation(), signature_, &task_.model()));
    if (data_->size() == 0) return Fail(ErrorCode::kRejected, "the evaluation data is empty");
    TRY_ASSIGN(metric_, ChooseAccuracy(task_.accuracy(), !data_->labels().empty()));
    result_.set_metric(metric_->name);
    threads_ = static_cast<int>(task_.threads());
    if (task_.exclusive_lock().empty()) return {};
    // Shared for building and inferring, which must not disturb a timing elsewhere.
    TRY_ASSIGN(MachineLock lock, MachineLock::Open(task_.exclusive_lock()));
    lock_.emplace(std::move(lock));
    return lock_->Shared();
  }

  size_t Samples() const {
    return task_.samples() == 0 ? data_->size() : std::min<size_t>(data_->size(), task_.samples());
  }

  Result<> RunStep(int step) {
    const int64_t start_ms = SystemClock().SteadyMs();
    TRY_ASSIGN(Forms forms, Build(task_.steps(step)));
    const int64_t built_ms = SystemClock().SteadyMs();
    result_.set_build_ms(result_.build_ms() + static_cast<uint64_t>(built_ms - start_ms));
    TRY_ASSIGN(const std::vector<Measured> measured, Measure(forms));
    std::vector<std::optional<double>> gains(forms.groups.size());
    if (task_.time()) {
      TRY_ASSIGN(gains, Time(forms));
    }
    Write(step, forms, measured, gains);
    result_.set_measure_ms(result_.measure_ms() + static_cast<uint64_t>(SystemClock().SteadyMs() - built_ms));
    return {};
  }

  Result<Forms> Build(const proto::PassStep& step) {
    for (const auto& parameter : step.parameters()) {
      // Both layers of a pair change, each so that only the other makes up for it; the graph does not tell.
      if (parameter.name() != "equalize" || !parameter.value().boolean()) continue;
      return Fail(ErrorCode::kRejected, "equalize moves scales between layers, so a layer alone says nothing",
                  "Leave equalize out.");
    }
    Forms forms;
    forms.original = model_;
    if (step.pass() == "fp16") {
      // The pass gives its values another type, so nothing would be common; what it does to each operator is the same
      // as this.
      forms.built = RoundToHalf(model_);
    } else {
      TRY_ASSIGN(forms.built, RunStepPass(step));
    }
    TRY(MatchOpset(forms));
    TRY_ASSIGN(forms.changes, FindChanges(forms.original, forms.built));
    if (forms.changes.empty()) return Fail(ErrorCode::kRejected, "the pass changes no node of this model");
    TRY(Group(step, forms));
    return forms;
  }

  Result<> Group(const proto::PassStep& step, Forms& forms) {
    TRY_ASSIGN(const size_t given, LayerGroupsGiven(step));
    if (given > 0) {
      TRY_ASSIGN(forms.groups, GroupByLayers(forms.original, forms.changes, given));
      result_.set_groups("given");
      return {};
    }
    Grouping used = Grouping::node;
    forms.groups = GroupChanges(forms.original, forms.changes, grouping_, used);
    // Later steps group as the first did, so that groups have the same names.
    grouping_ = used;
    result_.set_groups(used == Grouping::block ? "block" : "node");
    return {};
  }

  Result<onnx::ModelProto> RunStepPass(const proto::PassStep& step) {
    TRY_ASSIGN(const ScopedFolder folder, ScopedFolder::Make(fs::temp_directory_path(), "hone-sensitivity-"));
    proto::BuildTask build;
    *build.mutable_model() = task_.model();
    *build.mutable_step() = step;
    *build.mutable_inputs() = task_.inputs();
    if (task_.has_calibration()) *build.mutable_calibration() = task_.calibration();
    build.set_seed(task_.seed());
    build.set_threads(task_.threads());
    build.set_output_folder(folder.path().string());
    TRY_ASSIGN(const proto::BuildResult built, RunPass(build));
    if (built.model().format() != "onnx") {
      return Fail(ErrorCode::kRejected,
                  fmt::format("the pass gives {}, whose layers cannot be told one by one", built.model().format()));
    }
    for (const auto& note : built.notes()) result_.add_notes(fmt::format("{}: {}", step.pass(), note));
    return LoadOnnx(folder.path() / built.model().main());
  }

  // A pass may have raised the opset; operators are compared within one.
  Result<> MatchOpset(Forms& forms) {
    const int64_t wanted = OpsetVersion(forms.built);
    if (OpsetVersion(forms.original) >= wanted) return {};
    const proto::PassInfo info;
    const proto::BuildTask task;
    PassContext context{&info, &task, 1, {}, false, false};
    TRY(RequireOpset(forms.original, wanted, context));
    return SortNodes(*forms.original.mutable_graph());
  }

  // One entry a group, and one for all at once.
  Result<std::vector<Measured>> Measure(const Forms& forms) {
    TRY_ASSIGN(SwitchedModel switched, AddSwitches(forms.original, forms.built, forms.changes, forms.groups));
    Tensor switches{switched.switches, onnx::TensorProto::BOOL, {static_cast<int64_t>(forms.groups.size())}, {}};
    TRY_ASSIGN(const auto session, Compile(std::move(switched.model), threads_, true));
    result_.set_sessions(result_.sessions() + 1);
    const size_t groups = forms.groups.size();
    AccuracyAccumulator original(task_.accuracy().output());
    std::vector<AccuracyAccumulator> tried(groups + 1, AccuracyAccumulator(task_.accuracy().output()));
    const auto infer = [&](const std::vector<Tensor>& sample) -> Result<std::vector<Tensor>> {
      TRY_ASSIGN(const std::vector<Tensor> inputs, Feed(*session, sample, signature_, &switches));
      result_.set_inferences(result_.inferences() + 1);
      return session->Run(inputs);
    };
    for (size_t i = 0; i < Samples(); ++i) {
      TRY_ASSIGN(const std::vector<Tensor> sample, data_->Get(i));
      const std::optional<int64_t> label =
          task_.accuracy().against_labels() ? std::optional(data_->labels()[i]) : std::nullopt;
      switches.bytes.assign(groups, std::byte{0});
      TRY_ASSIGN(const std::vector<Tensor> reference, infer(sample));
      TRY(original.Add(reference, reference, label));
      for (size_t g = 0; g < groups; ++g) {
        switches.bytes.assign(groups, std::byte{0});
        switches.bytes[g] = std::byte{1};
        TRY_ASSIGN(const std::vector<Tensor> outputs, infer(sample));
        TRY(tried[g].Add(reference, outputs, label));
      }
      switches.bytes.assign(groups, std::byte{1});
      TRY_ASSIGN(const std::vector<Tensor> outputs, infer(sample));
      TRY(tried[groups].Add(reference, outputs, label));
    }
    std::vector<Measured> measured;
    for (const AccuracyAccumulator& one : tried) measured.push_back(Judge(original, one));
    return measured;
  }

  Measured Judge(const AccuracyAccumulator& original, const AccuracyAccumulator& tried) const {
    const std::map<std::string, double> baseline = original.Values();
    const std::map<std::string, double> values = tried.Values();
    Measured measured;
    if (const auto sqnr = values.find("sqnr_db"); sqnr != values.end()) measured.sqnr_db = sqnr->second;
    const bool broken = tried.broken_samples() > 0;
    const auto value = values.find(metric_->name);
    if (value == values.end()) {
      // sqnr_db has no value where nothing changed; other metrics have none where the output is broken.
      measured.loss = broken ? std::numeric_limits<double>::infinity() : 0;
      if (std::strcmp(metric_->name, "sqnr_db") == 0 && !broken)
        measured.loss = -std::numeric_limits<double>::infinity();
      measured.accuracy = -measured.loss;
      return measured;
    }
    measured.accuracy = value->second;
    const auto reference = baseline.find(metric_->name);
    measured.loss = AccuracyDrop(*metric_, reference == baseline.end() ? 0 : reference->second, value->second);
    return measured;
  }

  // --- timing --------------------------------------------------------------------------------------------------

  // The values that changes read, from the first sample.
  Result<std::map<std::string, Tensor>> Tapped(const Forms& forms) {
    std::set<std::string> wanted;
    const Constants ours(forms.original.graph());
    const Constants theirs(forms.built.graph());
    for (const Change& change : forms.changes) {
      for (auto& name : ReadFromOutside(forms.original.graph(), ours, change.original)) wanted.insert(std::move(name));
      for (auto& name : ReadFromOutside(forms.built.graph(), theirs, change.built)) wanted.insert(std::move(name));
    }
    TRY_ASSIGN(const std::vector<Tensor> sample, data_->Get(0));
    std::map<std::string, Tensor> values;
    for (size_t i = 0; i < signature_.size(); ++i) {
      if (wanted.erase(signature_[i].name) == 0) continue;
      values[signature_[i].name] = sample[i];
      values[signature_[i].name].name = signature_[i].name;
    }
    onnx::ModelProto tapped = forms.original;
    std::set<std::string> outputs;
    for (const auto& output : tapped.graph().output()) outputs.insert(output.name());
    for (const auto& name : wanted) {
      if (!outputs.contains(name)) tapped.mutable_graph()->add_output()->set_name(name);
    }
    TRY_ASSIGN(const auto session, Compile(std::move(tapped), threads_, false));
    result_.set_sessions(result_.sessions() + 1);
    TRY_ASSIGN(const std::vector<Tensor> inputs, Feed(*session, sample, signature_, nullptr));
    TRY_ASSIGN(std::vector<Tensor> got, session->Run(inputs));
    result_.set_inferences(result_.inferences() + 1);
    for (size_t i = 0; i < got.size(); ++i) {
      const std::string& name = session->outputs()[i];
      if (!wanted.contains(name)) continue;
      values[name] = std::move(got[i]);
      values[name].name = name;
    }
    return values;
  }

  struct Side {
    onnx::ModelProto model;
    std::vector<Tensor> inputs;
  };

  static Side AloneWith(const onnx::ModelProto& source, const std::vector<int>& nodes, const Change& change,
                        const std::map<std::string, Tensor>& values) {
    Side side;
    std::vector<onnx::ValueInfoProto> inputs;
    const Constants constants(source.graph());
    for (const auto& name : ReadFromOutside(source.graph(), constants, nodes)) {
      const Tensor& value = values.at(name);
      onnx::ValueInfoProto& input = inputs.emplace_back();
      input.set_name(name);
      input.mutable_type()->mutable_tensor_type()->set_elem_type(value.type);
      auto* shape = input.mutable_type()->mutable_tensor_type()->mutable_shape();
      for (const int64_t dim : value.dims) shape->add_dim()->set_dim_value(dim);
      side.inputs.push_back(value);
    }
    side.model = Alone(source, nodes, change.outputs, inputs);
    return side;
  }

  // Equal for operators that do equal work: the same nodes on the same shapes, whatever the values and names.
  static std::string WorkOf(const Side& side) {
    std::map<std::string, std::string> numbers;
    const auto number = [&](const std::string& name) {
      if (name.empty()) return std::string();
      return numbers.emplace(name, fmt::format("{}", numbers.size())).first->second;
    };
    std::string text;
    for (const auto& input : side.model.graph().input()) {
      text += number(input.name()) + input.type().SerializeAsString();
    }
    for (const auto& tensor : side.model.graph().initializer()) {
      std::vector<int64_t> dims(tensor.dims().begin(), tensor.dims().end());
      text += fmt::format("{}:{}[{}]", number(tensor.name()), tensor.data_type(), fmt::join(dims, ","));
      // Axes and shapes decide the work.
      if (tensor.data_type() == onnx::TensorProto::INT64) text += tensor.SerializeAsString();
    }
    for (const auto& node : side.model.graph().node()) {
      text += node.domain() + node.op_type();
      for (const auto& input : node.input()) text += number(input) + ",";
      for (const auto& output : node.output()) text += number(output) + ";";
      for (const auto& attribute : node.attribute()) text += attribute.SerializeAsString();
    }
    return DigestOf(text);
  }

  static double RunsMs(Session& session, int runs, Result<>& failure) {
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < runs && failure; ++i) failure = session.RunBound();
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count() / runs;
  }

  static double Median(std::vector<double> values) {
    std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2), values.end());
    return values[values.size() / 2];
  }

  Result<double> TimeChange(const Side& original, const Side& built) {
    std::unique_ptr<Session> sessions[2];
    int runs[2] = {1, 1};
    const Side* sides[2] = {&original, &built};
    for (int s = 0; s < 2; ++s) {
      TRY_ASSIGN(sessions[s], Compile(onnx::ModelProto(sides[s]->model), threads_, true));
      result_.set_sessions(result_.sessions() + 1);
      TRY_ASSIGN(const std::vector<Tensor> inputs, InOrder(*sessions[s], sides[s]->inputs));
      TRY(sessions[s]->Bind(inputs));
      Result<> ran;
      RunsMs(*sessions[s], 2, ran);
      const double once_ms = RunsMs(*sessions[s], 3, ran);
      TRY(std::move(ran));
      runs[s] = std::clamp(static_cast<int>(kRoundMs / std::max(once_ms, 1e-4)), 1, 1000);
    }
    std::vector<double> times[2];
    for (int round = 0; round < kRounds; ++round) {
      for (int k = 0; k < 2; ++k) {
        const int s = (round + k) % 2;
        Result<> ran;
        times[s].push_back(RunsMs(*sessions[s], runs[s], ran));
        TRY(std::move(ran));
      }
    }
    return Median(times[0]) - Median(times[1]);
  }

  static Result<std::vector<Tensor>> InOrder(const Session& session, const std::vector<Tensor>& values) {
    std::vector<Tensor> inputs;
    for (const InputSignature& wanted : session.inputs()) {
      const auto found =
          std::find_if(values.begin(), values.end(), [&](const Tensor& value) { return value.name == wanted.name; });
      CHECK_THAT(found != values.end());
      inputs.push_back(*found);
    }
    return inputs;
  }

  Result<std::vector<std::optional<double>>> Time(const Forms& forms) {
    TRY_ASSIGN(const auto values, Tapped(forms));
    if (lock_) TRY(lock_->Exclusive());
    std::map<std::string, double> known;
    std::vector<double> gains(forms.changes.size());
    for (size_t c = 0; c < forms.changes.size(); ++c) {
      const Change& change = forms.changes[c];
      const Side original = AloneWith(forms.original, change.original, change, values);
      const Side built = AloneWith(forms.built, change.built, change, values);
      const std::string work = WorkOf(original) + WorkOf(built);
      if (!known.contains(work)) {
        TRY_ASSIGN(known[work], TimeChange(original, built));
      }
      gains[c] = known[work];
    }
    if (lock_) TRY(lock_->Shared());
    std::vector<std::optional<double>> sums(forms.groups.size());
    for (size_t g = 0; g < forms.groups.size(); ++g) {
      double sum = 0;
      for (const size_t c : forms.groups[g].changes) sum += gains[c];
      sums[g] = sum;
    }
    return sums;
  }

  // --- result --------------------------------------------------------------------------------------------------

  uint64_t Parameters(const Forms& forms, const ChangeGroup& group) const {
    const Constants constants(forms.original.graph());
    std::set<std::string> names;
    for (const size_t c : group.changes) {
      for (const int n : forms.changes[c].original) {
        const auto& node = forms.original.graph().node(n);
        names.insert(node.input().begin(), node.input().end());
      }
    }
    uint64_t elements = 0;
    for (const auto& name : names) {
      const auto* tensor = constants.Find(name);
      if (tensor == nullptr || tensor->data_type() != onnx::TensorProto::FLOAT) continue;
      elements +=
          static_cast<uint64_t>(std::max<int64_t>(0, ElementCount({tensor->dims().begin(), tensor->dims().end()})));
    }
    return elements;
  }

  proto::SensitivityResult::Group& GroupNamed(const std::string& name) {
    const auto [place, added] = places_.emplace(name, result_.group_size());
    if (added) result_.add_group()->set_name(name);
    return *result_.mutable_group(place->second);
  }

  void Write(int step, const Forms& forms, const std::vector<Measured>& measured,
             const std::vector<std::optional<double>>& gains) {
    const auto fill = [](const Measured& from, auto& to) {
      to.set_loss(from.loss);
      to.set_accuracy(from.accuracy);
      if (from.sqnr_db) to.set_sqnr_db(*from.sqnr_db);
    };
    for (size_t g = 0; g < forms.groups.size(); ++g) {
      const ChangeGroup& group = forms.groups[g];
      proto::SensitivityResult::Group& entry = GroupNamed(group.name);
      std::set<std::string> known(entry.nodes().begin(), entry.nodes().end());
      for (const auto& node : group.nodes) {
        if (known.insert(node).second) entry.add_nodes(node);
      }
      entry.set_parameters(std::max(entry.parameters(), Parameters(forms, group)));
      proto::SensitivityResult::Loss& loss = *entry.add_losses();
      loss.set_step(static_cast<uint32_t>(step));
      fill(measured[g], loss);
      for (const auto& node : group.nodes) loss.add_nodes(node);
      if (gains[g]) loss.set_gain_ms(*gains[g]);
    }
    proto::SensitivityResult::Whole& whole = *result_.add_whole();
    whole.set_step(static_cast<uint32_t>(step));
    fill(measured.back(), whole);
    NoteIfEntangled(step, measured);
  }

  // Groups that lose much alone and little together compensate each other, so the table would mislead.
  void NoteIfEntangled(int step, const std::vector<Measured>& measured) {
    double worst = 0;
    for (size_t g = 0; g + 1 < measured.size(); ++g) worst = std::max(worst, measured[g].loss);
    if (metric_->needs_labels || worst < 1e-3 || measured.back().loss > worst / 4) return;
    result_.add_notes(fmt::format(
        "{}: a group alone loses {:.3g}, all together {:.3g}: the pass moves scales between layers, and single "
        "groups say little",
        task_.steps(step).pass(), worst, measured.back().loss));
  }

  // By the largest loss of any step, then by the smallest SQNR, then as in the model.
  void Sort() {
    const auto worst = [](const proto::SensitivityResult::Group& group) {
      double loss = -std::numeric_limits<double>::infinity();
      double sqnr = std::numeric_limits<double>::infinity();
      for (const auto& one : group.losses()) {
        loss = std::max(loss, one.loss());
        if (one.has_sqnr_db()) sqnr = std::min(sqnr, one.sqnr_db());
      }
      return std::make_pair(-loss, sqnr);
    };
    std::stable_sort(result_.mutable_group()->begin(), result_.mutable_group()->end(),
                     [&](const auto& a, const auto& b) { return worst(a) < worst(b); });
  }

  const proto::SensitivityTask& task_;
  onnx::ModelProto model_;
  Grouping grouping_ = Grouping::automatic;
  std::vector<InputSignature> signature_;
  std::unique_ptr<DataSet> data_;
  const AccuracyMetric* metric_ = nullptr;
  int threads_ = 0;
  std::optional<MachineLock> lock_;
  proto::SensitivityResult result_;
  std::map<std::string, int> places_;
};

}  // namespace

Result<proto::SensitivityResult> MeasureSensitivity(const proto::SensitivityTask& task) {
  return Sensitivity(task).Run();
}

}  // namespace hone
