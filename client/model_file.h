// A person's model and data files, as bundles: hashed here, parsed in a runner.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "common/base/file.h"
#include "common/base/result.h"
#include "proto/work.pb.h"

namespace hone {

struct ModelFile {
  std::filesystem::path path;     // As the person named it.
  proto::LocalBundle local;
  proto::InspectResult info;
  std::shared_ptr<const ScopedFolder> plain;   // Where the hub's cache holds links: what `local` names instead.
};

// Whether it is a checkpoint of an encoder: built, it gives states, embeddings or logits in one run, without a cache.
bool IsEncoderCheckpoint(const proto::InspectResult& info);

// kRejected for what is missing, of unknown kind, or no valid model.
Result<ModelFile> OpenModel(const std::filesystem::path& path);
// kRejected for what is missing or no data set by its form; content is checked by CountSamples.
Result<proto::LocalBundle> OpenData(const std::filesystem::path& path);

// "NAME=1,64" each; "?" or -1 keeps a dimension free. kUsage.
Result<std::vector<proto::InputShape>> ParsePins(const std::vector<std::string>& words);

// Whether pins name inputs of the model, have their rank and contradict no fixed dimension. kRejected.
Result<> CheckPins(const proto::InspectResult& info, const google::protobuf::RepeatedPtrField<proto::InputShape>& pins);
// kRejected, naming input, dimension and flag, where a dimension is neither fixed nor pinned. Language models need no
// shapes: they write texts of their own where there are no data.
Result<> RequireKnownShapes(const proto::InspectResult& info,
                            const google::protobuf::RepeatedPtrField<proto::InputShape>& pins);

// Opens a data set for the model in a runner; the number of samples in its range. kRejected where the data do not fit
// the model.
Result<uint64_t> CountSamples(const ModelFile& model, const google::protobuf::RepeatedPtrField<proto::InputShape>& pins,
                              const proto::LocalData& data);

// Where the files of a model go in an output folder: the opened file becomes "model" with its extension, files that
// share its stem follow (model.bin beside model.xml); others keep their path, because the model names them. Same order
// as bundle.files().
std::vector<std::string> OutputNames(const proto::Bundle& bundle, const std::string& stem = "model");

}  // namespace hone
