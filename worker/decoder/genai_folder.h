// The files that the runtimes for text generation want beside a decoder: ONNX Runtime GenAI genai_config.json, OpenVINO
// GenAI config.json and generation_config.json; both the vocabulary and its settings.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "proto/work.pb.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/checkpoint/decoder_config.h"

namespace hone {

// Writes the files into `folder` and tells of them, in no order. max_length: of prompt and answer together; the runtime
// takes memory for a cache of this length at once, so the model's own limit is too much for most machines.
Result<std::vector<proto::File>> WriteGenaiFiles(const proto::LocalBundle& source, const Checkpoint& checkpoint,
                                                 const DecoderConfig& config, int64_t max_length,
                                                 const std::filesystem::path& folder, std::vector<std::string>& notes);

// What OpenVINO GenAI reads of a model's configuration and of its tokens, and the vocabulary.
Result<std::vector<proto::File>> WriteOpenvinoGenaiFiles(const proto::LocalBundle& source, const Checkpoint& checkpoint,
                                                         const DecoderConfig& config,
                                                         const std::filesystem::path& folder,
                                                         std::vector<std::string>& notes);

// The vocabulary and its settings alone, as they are.
Result<std::vector<proto::File>> WriteTokenizerFiles(const proto::LocalBundle& source, const Checkpoint& checkpoint,
                                                     int64_t positions, const std::filesystem::path& folder,
                                                     std::vector<std::string>& notes);

}  // namespace hone
