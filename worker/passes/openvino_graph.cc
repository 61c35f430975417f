// Reading through OpenVINO's own readers, and writing IR in reproducible bytes.
//
// Two things would make the bytes differ between runs of one task: names that OpenVINO numbers by a counter of the
// process, for nodes that nobody named (Type_<count>, which folding also hands on to constants), and what other tools
// noted about how they made their file. The former are numbered anew by position, the latter dropped.
#include "worker/passes/openvino_graph.h"

#include <algorithm>
#include <cctype>
#include <map>
#include <openvino/op/convert.hpp>
#include <openvino/op/fake_quantize.hpp>
#include <openvino/op/util/multi_subgraph_base.hpp>
#include <openvino/openvino.hpp>
#include <openvino/pass/constant_folding.hpp>
#include <openvino/pass/manager.hpp>
#include <openvino/pass/serialize.hpp>
#include <ostream>
#include <streambuf>

#include "common/base/digest.h"
#include "common/base/strings.h"
#include "worker/decoder/data_file.h"
#include "worker/model/model.h"

namespace hone {
namespace {

namespace fs = std::filesystem;

constexpr const char* kXmlName = "model.xml";
constexpr const char* kBinName = "model.bin";
// Keys of a model's rt_info that tell how a file was made: arguments and paths of the machine that made it.
constexpr const char* kOrigins[] = {"conversion_parameters", "optimum", "legacy_frontend"};

// Lines of the library's messages that tell where in its sources, or nothing.
bool IsNoise(std::string_view line) {
  const bool place = line.starts_with("Exception from ") ||
                     (line.starts_with("Check '") && line.find(" failed at ") != std::string_view::npos);
  return line.empty() || place || line.starts_with("FrontEnd API failed") || line == "Summary:" ||
         line == "Loading input model";
}

// OpenVINO opens external data by itself, so it is given only what passed our own checks.
Result<ModelNames> CheckOnnx(const fs::path& file) {
  TRY_ASSIGN(const std::vector<std::string> external, ExternalFiles(file));
  TRY_ASSIGN(const onnx::ModelProto model, LoadOnnx(file, external.empty() ? Weights::leave_external : Weights::load));
  TRY(CheckModel(model));
  ModelNames names;
  for (const auto* input : RealInputs(model.graph())) names.inputs.push_back(input->name());
  for (const auto& output : model.graph().output()) names.outputs.push_back(output.name());
  VisitGraphs(model.graph(), [&](const onnx::GraphProto& graph) {
    for (const auto& tensor : graph.initializer()) names.nodes.insert(tensor.name());
    for (const auto& input : graph.input()) names.nodes.insert(input.name());
    for (const auto& node : graph.node()) {
      names.nodes.insert(node.name());
      names.nodes.insert(node.output().begin(), node.output().end());
    }
  });
  return names;
}

// A SavedModel is opened by its folder.
fs::path PathToOpen(const proto::LocalBundle& model) {
  const fs::path main = fs::path(model.folder()) / model.bundle().main();
  return main.filename() == "saved_model.pb" ? main.parent_path() : main;
}

template <class Ports>
std::vector<std::string> MissingNames(const Ports& ports, const std::vector<std::string>& wanted) {
  std::vector<std::string> missing;
  for (const auto& name : wanted) {
    const bool found =
        std::any_of(ports.begin(), ports.end(), [&](const auto& port) { return port.get_names().contains(name); });
    if (!found) missing.push_back(Printable(name, 200));
  }
  return missing;
}

// An input that is an output too comes out with the output's name alone, and a file holds no more. A conversion to its
// own type makes two tensors of it, each with its name. Parameters keep the order of the inputs, so where as many have
// no input's name as names are missing, these are theirs.
void SeparateInputsFromOutputs(ov::Model& model, const ModelNames& names) {
  const std::vector<std::string> missing = MissingNames(model.inputs(), names.inputs);
  std::vector<ov::Output<ov::Node>> nameless;
  for (const auto& port : model.inputs()) {
    const bool named = std::any_of(names.inputs.begin(), names.inputs.end(),
                                   [&](const std::string& name) { return port.get_names().contains(name); });
    if (!named) nameless.push_back(port);
  }
  if (nameless.size() != missing.size()) return;
  for (size_t i = 0; i < missing.size(); ++i) {
    const auto output_names = nameless[i].get_names();
    const auto copy = std::make_shared<ov::op::v0::Convert>(nameless[i], nameless[i].get_element_type());
    copy->set_friendly_name(nameless[i].get_node()->get_friendly_name());
    for (const auto& result : model.get_results()) {
      if (result->input_value(0) == nameless[i]) result->input(0).replace_source_output(copy->output(0));
    }
    nameless[i].get_node()->set_friendly_name(missing[i]);
    nameless[i].set_names({missing[i]});
    copy->output(0).set_names(output_names);
  }
}

// OpenVINO drops inputs that no output depends on, which is worth a note; outputs must be there.
Result<> CheckNames(const ov::Model& model, const ModelNames& names, std::vector<std::string>& notes) {
  const std::vector<std::string> inputs = MissingNames(model.inputs(), names.inputs);
  const std::vector<std::string> outputs = MissingNames(model.outputs(), names.outputs);
  if (!inputs.empty())
    notes.push_back(fmt::format("inputs that no output depends on are gone: {}", Join(inputs, ", ")));
  if (!outputs.empty())
    return Fail(ErrorCode::kFailed, fmt::format("OpenVINO lost the outputs {}", Join(outputs, ", ")));
  return {};
}

// --- pins -----------------------------------------------------------------------------------------------------------

Result<ov::PartialShape> PinnedShape(const std::string& name, const ov::PartialShape& shape,
                                     const proto::InputShape& pin) {
  if (shape.rank().is_dynamic()) {
    ov::PartialShape pinned;
    for (const int64_t dim : pin.dims()) pinned.push_back(dim < 0 ? ov::Dimension::dynamic() : ov::Dimension(dim));
    return pinned;
  }
  if (static_cast<int>(shape.size()) != pin.dims_size()) {
    return Fail(ErrorCode::kRejected,
                fmt::format("input '{}' has {} dimensions, not {}", name, shape.size(), pin.dims_size()));
  }
  ov::PartialShape pinned = shape;
  for (int i = 0; i < pin.dims_size(); ++i) {
    if (pin.dims(i) == -1) continue;
    const ov::Dimension& declared = shape[static_cast<size_t>(i)];
    if (pin.dims(i) < 1 || !declared.compatible(pin.dims(i))) {
      return Fail(ErrorCode::kRejected, fmt::format("input '{}': dimension {} cannot be {}: the model has {}", name, i,
                                                    pin.dims(i), declared.to_string()));
    }
    pinned[static_cast<size_t>(i)] = pin.dims(i);
  }
  return pinned;
}

Result<> PinModel(ov::Model& model, const google::protobuf::RepeatedPtrField<proto::InputShape>& pins) {
  if (pins.empty()) return {};
  std::map<ov::Output<ov::Node>, ov::PartialShape> shapes;
  std::vector<std::string> names;
  for (const auto& input : model.inputs())
    names.insert(names.end(), input.get_names().begin(), input.get_names().end());
  std::sort(names.begin(), names.end());
  for (const auto& pin : pins) {
    const auto inputs = model.inputs();
    const auto input = std::find_if(inputs.begin(), inputs.end(),
                                    [&](const auto& port) { return port.get_names().contains(pin.name()); });
    if (input == inputs.end()) {
      return Fail(
          ErrorCode::kRejected,
          fmt::format("the model has no input '{}'{}", Printable(pin.name(), 200), DidYouMean(pin.name(), names)),
          "Its inputs: " + Join(names, ", ") + ".");
    }
    TRY_ASSIGN(shapes[*input], PinnedShape(pin.name(), input->get_partial_shape(), pin));
  }
  return CallOpenvino("pin the inputs",
                      [&] {
                        model.reshape(shapes);
                        return 0;
                      })
      .map([](int) {});
}

// --- names ----------------------------------------------------------------------------------------------------------

// Type_<count>, the count running through the process.
bool LooksCounted(const std::string& name) {
  const size_t at = name.rfind('_');
  if (at == std::string::npos || at == 0 || at + 1 == name.size()) return false;
  const auto digit = [](unsigned char c) { return std::isdigit(c) != 0; };
  return std::all_of(name.begin() + static_cast<std::ptrdiff_t>(at) + 1, name.end(), digit) &&
         std::isupper(static_cast<unsigned char>(name[0])) != 0;
}

void NumberUnnamedNodes(const ov::Model& model, const std::unordered_set<std::string>& given) {
  const auto nodes = model.get_ordered_ops();
  const auto unnamed = [&](const ov::Node& node) {
    return !given.contains(node.get_friendly_name()) && LooksCounted(node.get_friendly_name());
  };
  std::unordered_set<std::string> taken;
  for (const auto& node : nodes) {
    if (!unnamed(*node)) taken.insert(node->get_friendly_name());
  }
  size_t count = 0;
  for (const auto& node : nodes) {
    if (!unnamed(*node)) continue;
    std::string name;
    do {
      name = fmt::format("{}_{}", node->get_type_name(), count++);
    } while (!taken.insert(name).second);
    node->set_friendly_name(name);
  }
  for (const auto& node : nodes) {
    const auto* outer = dynamic_cast<const ov::op::util::MultiSubGraphOp*>(node.get());
    if (outer == nullptr) continue;
    for (const auto& inner : outer->get_functions()) NumberUnnamedNodes(*inner, given);
  }
}

void DropOrigins(ov::Model& model) {
  for (const char* key : kOrigins) model.get_rt_info().erase(key);
}

Result<proto::File> Describe(const fs::path& folder, const char* name) {
  proto::File file;
  file.set_path(name);
  TRY_ASSIGN(*file.mutable_digest(), DigestOfFile(folder / name));
  std::error_code error;
  file.set_size_bytes(fs::file_size(folder / name, error));
  if (error) return Fail(ErrorCode::kFailed, fmt::format("write {}: {}", (folder / name).string(), error.message()));
  return file;
}

// The same bytes for the same model, whatever else the process did.
void MakeReproducible(ov::Model& model, const std::unordered_set<std::string>& given) {
  model.set_friendly_name("model");
  NumberUnnamedNodes(model, given);
  DropOrigins(model);
}

// What a library writes to, hashed and on the disk at once. It can be asked where it is, not moved.
class DataStream : public std::streambuf {
 public:
  DataStream(DataFile& file, const std::function<void(const char*, size_t)>& written)
      : file_(file), written_(written) {}

  // The first failure; nothing is written after it.
  const Result<>& status() const { return status_; }

 protected:
  std::streamsize xsputn(const char* bytes, std::streamsize count) override {
    if (status_) status_ = file_.Put({bytes, static_cast<size_t>(count)});
    if (!status_) return 0;
    written_(bytes, static_cast<size_t>(count));
    return count;
  }
  int_type overflow(int_type next) override {
    if (traits_type::eq_int_type(next, traits_type::eof())) return traits_type::not_eof(next);
    const char byte = traits_type::to_char_type(next);
    return xsputn(&byte, 1) == 1 ? next : traits_type::eof();
  }
  pos_type seekoff(off_type offset, std::ios_base::seekdir from, std::ios_base::openmode) override {
    const bool asks = offset == 0 && from == std::ios_base::cur;
    return asks ? pos_type(static_cast<off_type>(file_.size())) : pos_type(off_type(-1));
  }

 private:
  DataFile& file_;
  const std::function<void(const char*, size_t)>& written_;
  Result<> status_;
};

// Types that no float arithmetic is done in: constants of them are compressed weights.
bool IsNarrow(const ov::element::Type& type) { return type.is_quantized() || type.bitwidth() < 16; }

}  // namespace

std::string OpenvinoCause(const std::exception& error) {
  std::vector<std::string> kept;
  for (const auto& line : Split(error.what(), '\n')) {
    if (!IsNoise(Trim(line))) kept.emplace_back(Trim(line));
  }
  return Printable(kept.empty() ? error.what() : Join(kept, "; "), 1000);
}

Result<OpenvinoModel> ReadOpenvinoModel(PassContext& context) {
  const proto::LocalBundle& source = context.task->model();
  const fs::path path = PathToOpen(source);
  OpenvinoModel read;
  if (source.bundle().format() == "onnx") {
    TRY_ASSIGN(read.names, CheckOnnx(path));
  }
  TRY_ASSIGN(read.model, CallOpenvino("read the model", [&] { return ov::Core().read_model(path.string()); }));
  SeparateInputsFromOutputs(*read.model, read.names);
  TRY(CheckNames(*read.model, read.names, context.notes));
  TRY(PinModel(*read.model, context.task->inputs()));
  return read;
}

bool HoldsNarrowWeights(const ov::Model& model) {
  for (const auto& node : model.get_ops()) {
    if (ov::is_type<ov::op::v0::FakeQuantize>(node)) return true;
    if (!ov::is_type<ov::op::v0::Convert>(node) || !ov::is_type<ov::op::v0::Constant>(node->get_input_node_ptr(0)))
      continue;
    if (node->get_output_element_type(0).is_real() && IsNarrow(node->get_input_element_type(0))) return true;
  }
  return false;
}

Result<> FoldConstants(const std::shared_ptr<ov::Model>& model) {
  TRY(CallOpenvino("fold constants", [&] {
    ov::pass::Manager manager;
    manager.register_pass<ov::pass::ConstantFolding>();
    manager.run_passes(model);
    return 0;
  }));
  return {};
}

Result<proto::Bundle> WriteOpenvinoModel(const OpenvinoModel& read, const PassContext& context, HalfWeights half) {
  const std::shared_ptr<ov::Model>& model = read.model;
  MakeReproducible(*model, read.names.nodes);
  const fs::path folder = context.task->output_folder();
  TRY(CallOpenvino("write the model", [&] {
    ov::save_model(model, (folder / kXmlName).string(), half == HalfWeights::yes);
    return 0;
  }));
  proto::Bundle bundle;
  bundle.set_format("openvino_ir");
  bundle.set_main(kXmlName);
  // A model without constants has no second file.
  std::error_code error;
  if (fs::file_size(folder / kBinName, error) == 0) {
    fs::remove(folder / kBinName, error);
  } else {
    TRY_ASSIGN(*bundle.add_files(), Describe(folder, kBinName));
  }
  TRY_ASSIGN(*bundle.add_files(), Describe(folder, kXmlName));
  return bundle;
}

Result<std::vector<proto::File>> StreamOpenvinoModel(const std::shared_ptr<ov::Model>& model, const fs::path& folder,
                                                     const std::string& stem,
                                                     const std::function<void(const char*, size_t)>& written) {
  MakeReproducible(*model, {});
  TRY_ASSIGN(DataFile xml, DataFile::Make(folder, stem + ".xml"));
  TRY_ASSIGN(DataFile bin, DataFile::Make(folder, stem + ".bin"));
  const std::function<void(const char*, size_t)> nothing = [](const char*, size_t) {};
  DataStream xml_stream(xml, nothing);
  DataStream bin_stream(bin, written);
  std::ostream xml_out(&xml_stream);
  std::ostream bin_out(&bin_stream);
  TRY(CallOpenvino("write the model", [&] {
    return ov::pass::Serialize(xml_out, bin_out).run_on_model(model);
  }));
  TRY(xml_stream.status());
  TRY(bin_stream.status());
  if (!xml_out || !bin_out) return Fail(ErrorCode::kFailed, "write the model: OpenVINO's writer stopped");
  std::vector<proto::File> files(2);
  TRY_ASSIGN(files[0], bin.Commit());
  TRY_ASSIGN(files[1], xml.Commit());
  return files;
}

Result<NameFilter> NameFilter::Make(std::string_view expressions) {
  NameFilter filter;
  for (const auto& part : Split(expressions, ',')) {
    const std::string text(Trim(part));
    if (text.empty()) continue;
    try {
      filter.excluded_.emplace_back(text, std::regex::ECMAScript | std::regex::optimize);
    } catch (const std::regex_error& broken) {
      return Fail(ErrorCode::kRejected,
                  fmt::format("exclude: '{}' is no regular expression: {}", Printable(text, 200), broken.what()));
    }
  }
  return filter;
}

bool NameFilter::Excludes(const ov::Node& node) const {
  return std::any_of(excluded_.begin(), excluded_.end(),
                     [&](const std::regex& pattern) { return std::regex_match(node.get_friendly_name(), pattern); });
}

void LayerTally::Tell(std::vector<std::string>& notes) const {
  for (const auto& [type, count] : counts_) {
    int all = count.done;
    for (const auto& [reason, number] : count.left) all += number;
    notes.push_back(fmt::format("{} of {} {} quantized", count.done, all, type));
    for (const auto& [reason, number] : count.left)
      notes.push_back(fmt::format("{} {} left in float: {}", number, type, reason));
  }
}

int LayerTally::Done() const {
  int done = 0;
  for (const auto& [type, count] : counts_) done += count.done;
  return done;
}

Result<> LayerTally::CheckAny(std::string_view wanted) const {
  if (Done() > 0) return {};
  std::vector<std::string> reasons;
  for (const auto& [type, count] : counts_) {
    for (const auto& [reason, number] : count.left) reasons.push_back(fmt::format("{} {}: {}", number, type, reason));
  }
  return Fail(ErrorCode::kRejected,
              fmt::format("there is nothing to quantize: {}",
                          reasons.empty() ? fmt::format("the model has no {}", wanted) : Join(reasons, "; ")));
}

}  // namespace hone
