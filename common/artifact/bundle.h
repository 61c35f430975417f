// Bundles: models and data sets as lists of files named by digest. Client and coordinator see only bytes and digests
// here; what a file holds is parsed in the runner alone.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"
#include "proto/artifact.pb.h"

namespace hone {

// The bundle's id: the digest of the only file, else the digest of the lines "path digest size\n" ordered by path. The
// format is not part of it.
std::string BundleId(const proto::Bundle& bundle);
uint64_t BundleBytes(const proto::Bundle& bundle);

// Bounds and form: 1..100,000 files, none empty, ordered, distinct, safe relative paths (no "..", no empty part, no
// leading '/', no control characters, at most 1024 bytes of UTF-8), digests well formed, main among the files (or ""
// for a folder).
Result<> CheckBundle(const proto::Bundle& bundle);
bool IsSafeRelativePath(std::string_view path);

// The manifest of a model in several files (the pass `split`), and whether a bundle is one.
inline constexpr const char* kPartsFile = "parts.json";
bool IsInParts(const proto::Bundle& bundle);

// Makes the bundle of a model on disk by its name and neighbours, hashing its files:
//   x.onnx (with every external-data file that it names beneath its own folder: see external_files), x.xml with x.bin,
//   x.tflite, x.pdmodel with x.pdiparams, x.pb, a SavedModel folder (main is "": the folder itself is opened),
//   a folder with parts.json and part_0/model.onnx (a model in several files; main is its first part).
// An empty x.bin or x.pdiparams (a model without weights) is left out. Hidden files of folders are left out. kNotFound
// if there is nothing; kRejected for a name whose format is unknown, an empty file or a special file. The named file
// (or folder) may be a symbolic link, as in caches of model hubs: whoever named it meant it. The files that come with
// it are the model's word alone: none may be reached through a link or have other names (hard links). Each file is
// opened once, and what was opened is what is hashed. `external_files` gives, for an .onnx file, the relative paths of
// external data; it runs a parser and so lives with the worker's `hone-worker run` (client/local_task.h); pass {} to
// take the .onnx file alone.
Result<proto::Bundle> BundleOfModel(
    const std::filesystem::path& path,
    const std::function<Result<std::vector<std::string>>(const std::filesystem::path&)>& external_files);

// What of a Hugging Face folder makes a model, by its path there: configurations, vocabularies, weights; not the same
// weights in other formats.
bool IsOfCheckpoint(const std::filesystem::path& relative);

// Makes the bundle of a data set: x.npz; x.npy or x.json of token ids; x.txt; a folder of test_data_set_N folders; a
// folder of images (png, jpg, jpeg, bmp; class folders are labels, else labels.csv with file,label lines).
Result<proto::Bundle> BundleOfData(const std::filesystem::path& path);

// The absolute path of a file of a bundle that lies in `folder`. The bundle must have passed CheckBundle.
std::filesystem::path PathIn(const std::filesystem::path& folder, const proto::File& file);

}  // namespace hone
