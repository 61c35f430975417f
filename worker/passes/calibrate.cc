// Before: model.onnx
// After:  model.onnx, statistics.bin
#include "worker/passes/calibrate.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <set>

#include "common/artifact/bundle.h"
#include "common/base/digest.h"
#include "common/base/file.h"
#include "common/base/open_file.h"
#include "worker/passes/quantization_data.h"
#include "worker/passes/quantization_graph.h"

namespace hone {
namespace {

namespace fs = std::filesystem;

// Every float value that the main graph computes or is fed.
std::vector<StatisticsRequest> RequestsFor(const QuantizationGraph& graph) {
  std::set<std::string> names;
  for (const auto* input : RealInputs(graph.model().graph())) names.insert(input->name());
  for (int i = 0; i < graph.NodeCount(); ++i)
    names.insert(graph.Node(i).output().begin(), graph.Node(i).output().end());
  const std::map<std::string, int> axes = ChannelAxes(graph);
  std::vector<StatisticsRequest> requests;
  for (const auto& name : names) {
    if (name.empty() || !graph.IsFloat(name)) continue;
    StatisticsRequest request;
    request.tensor = name;
    request.histogram = true;
    if (const auto axis = axes.find(name); axis != axes.end()) request.channel_axis = axis->second;
    requests.push_back(std::move(request));
  }
  return requests;
}

// fs::copy_file would also set the mode, which a confined process may not.
Result<> Copy(const fs::path& from, const fs::path& to) {
  TRY(MakeFolder(to.parent_path()));
  TRY_ASSIGN(const RegularFile source, OpenRegular(from));
  const Descriptor target(::open(to.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666));
  if (!target) return Fail(ErrnoError("create", to, errno));
  std::vector<char> buffer(1 << 20);
  while (true) {
    TRY_ASSIGN(const size_t count, ReadSome(source.descriptor.get(), buffer.data(), buffer.size(), from));
    if (count == 0) return {};
    TRY(WriteAll(target.get(), {buffer.data(), count}, to));
  }
}

}  // namespace

proto::PassInfo CalibrateInfo() {
  proto::PassInfo info;
  info.set_name("calibrate");
  info.set_version(1);
  info.set_summary("Keeps the statistics of every activation beside the model, for the steps that quantize it");
  info.add_accepts("onnx");
  info.set_needs_calibration(true);
  return info;
}

Result<proto::Bundle> Calibrate(PassContext& context) {
  const proto::LocalBundle& source = context.task->model();
  const fs::path folder = context.task->output_folder();
  Statistics statistics;
  {
    MappedWeights mapped;
    TRY_ASSIGN(onnx::ModelProto model, MapOnnx(fs::path(source.folder()) / source.bundle().main(), mapped));
    TRY(CheckModel(model));
    TRY_ASSIGN(const auto data, OpenDataSet(context.task->calibration(), SignatureOf(model.graph(), context), &source));
    const std::vector<StatisticsRequest> requests = RequestsFor(QuantizationGraph(model));
    if (requests.empty()) return Fail(ErrorCode::kRejected, "the model computes no float values");
    CollectOptions options;
    options.threads = context.threads;
    TRY_ASSIGN(statistics, CollectStatistics(model, requests, *data, options));
    context.notes.push_back(fmt::format("{} tensors measured on {} samples", statistics.size(), data->size()));
  }
  TRY(SaveStatistics(statistics, folder / kStatisticsFile));
  proto::Bundle bundle = source.bundle();
  auto& files = *bundle.mutable_files();
  files.erase(std::remove_if(files.begin(), files.end(),
                             [](const proto::File& file) { return file.path() == kStatisticsFile; }),
              files.end());
  for (const auto& file : files) {
    TRY(Copy(PathIn(source.folder(), file), PathIn(folder, file)));
  }
  proto::File entry;
  entry.set_path(kStatisticsFile);
  TRY_ASSIGN(*entry.mutable_digest(), DigestOfFile(folder / kStatisticsFile));
  entry.set_size_bytes(fs::file_size(folder / kStatisticsFile));
  *bundle.add_files() = std::move(entry);
  std::sort(files.begin(), files.end(),
            [](const proto::File& a, const proto::File& b) { return a.path() < b.path(); });
  return bundle;
}

}  // namespace hone
