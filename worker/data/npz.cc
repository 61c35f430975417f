// A zip's directory may claim anything, so nothing is allocated on its word alone: an entry's declared size must be one
// that its compressed bytes can give (deflate cannot grow data more than 1032 times), the shape in the .npy header must
// say exactly that size, and reading past the selected rows to the end lets libzip verify the checksum.
#include "worker/data/npz.h"

#include <fmt/format.h>
#include <zip.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <new>
#include <set>
#include <utility>

#include "common/artifact/bundle.h"
#include "common/base/strings.h"
#include "worker/data/convert.h"
#include "worker/data/signature.h"

namespace hone {
namespace {

constexpr int64_t kMaxEntries = 10000;
constexpr uint64_t kDeflateLimit = 1032;
constexpr ElementType kInt64 = 7;
constexpr ElementType kBool = 9;

struct CloseEntry {
  void operator()(zip_file_t* file) const { zip_fclose(file); }
};
using ZipEntry = std::unique_ptr<zip_file_t, CloseEntry>;

struct EntryInfo {
  zip_uint64_t index = 0;
  uint64_t bytes = 0;
};

tl::unexpected<Error> Broken(std::string cause) { return Fail(ErrorCode::kRejected, std::move(cause)); }

Result<> ReadExactly(zip_file_t* file, void* target, uint64_t bytes) {
  char* place = static_cast<char*>(target);
  while (bytes > 0) {
    const zip_int64_t got = zip_fread(file, place, std::min<uint64_t>(bytes, 64 << 20));
    if (got < 0) return Broken(fmt::format("broken zip entry: {}", zip_file_strerror(file)));
    if (got == 0) return Broken("truncated: the entry ends before its array does");
    place += got;
    bytes -= static_cast<uint64_t>(got);
  }
  return {};
}

Result<> Skip(zip_file_t* file, uint64_t bytes) {
  std::vector<char> buffer(std::min<uint64_t>(bytes, 1 << 20));
  while (bytes > 0) {
    const uint64_t part = std::min<uint64_t>(bytes, buffer.size());
    TRY(ReadExactly(file, buffer.data(), part));
    bytes -= part;
  }
  return {};
}

// Reading at the end is what makes libzip compare the checksum.
Result<> ExpectEnd(zip_file_t* file) {
  char byte;
  const zip_int64_t got = zip_fread(file, &byte, 1);
  if (got < 0) return Broken(fmt::format("broken zip entry: {}", zip_file_strerror(file)));
  if (got > 0) return Broken("the entry goes on after its array");
  return {};
}

Result<std::vector<std::byte>> Allocate(uint64_t bytes) {
  try {
    return std::vector<std::byte>(bytes);
  } catch (const std::bad_alloc&) {
    return Fail(ErrorCode::kExhausted, fmt::format("no memory for an array of {}", HumanBytes(bytes)),
                "select fewer samples");
  }
}

void SwapBytes(std::vector<std::byte>& bytes, size_t element_bytes) {
  for (size_t i = 0; i + element_bytes <= bytes.size(); i += element_bytes) {
    std::reverse(bytes.begin() + static_cast<std::ptrdiff_t>(i),
                 bytes.begin() + static_cast<std::ptrdiff_t>(i + element_bytes));
  }
}

// Rows [first, first + count) of an array stored with its first index fastest, as row-major.
std::vector<std::byte> RowsOfFortran(const std::vector<std::byte>& all, const std::vector<int64_t>& dims,
                                     size_t element_bytes, int64_t first, int64_t count) {
  std::vector<int64_t> steps(dims.size(), 1);
  for (size_t axis = 1; axis < dims.size(); ++axis) steps[axis] = steps[axis - 1] * dims[axis - 1];
  int64_t row_elements = 1;
  for (size_t axis = 1; axis < dims.size(); ++axis) row_elements *= dims[axis];
  std::vector<std::byte> rows(static_cast<size_t>(count * row_elements) * element_bytes);
  std::vector<int64_t> at(dims.size(), 0);
  at[0] = first;
  for (size_t i = 0; i < rows.size(); i += element_bytes) {
    int64_t from = 0;
    for (size_t axis = 0; axis < dims.size(); ++axis) from += at[axis] * steps[axis];
    std::memcpy(rows.data() + i, all.data() + static_cast<size_t>(from) * element_bytes, element_bytes);
    for (size_t axis = dims.size(); axis-- > 0;) {
      if (++at[axis] < dims[axis] || axis == 0) break;
      at[axis] = 0;
    }
  }
  return rows;
}

}  // namespace

struct NpzFile::State {
  zip_t* zip = nullptr;
  std::vector<std::string> names;
  std::map<std::string, EntryInfo> entries;

  ~State() {
    if (zip != nullptr) zip_discard(zip);
  }

  // Leaves the entry's stream behind the header.
  Result<ZipEntry> Start(const std::string& name, NpyHeader& header) const;
};

NpzFile::NpzFile(std::unique_ptr<State> state) : state_(std::move(state)) {}
NpzFile::~NpzFile() = default;
NpzFile::NpzFile(NpzFile&&) noexcept = default;
NpzFile& NpzFile::operator=(NpzFile&&) noexcept = default;

const std::vector<std::string>& NpzFile::names() const { return state_->names; }
bool NpzFile::Has(const std::string& name) const { return state_->entries.contains(name); }

Result<NpzFile> NpzFile::Open(const std::filesystem::path& path) {
  auto state = std::make_unique<State>();
  int code = 0;
  state->zip = zip_open(path.c_str(), ZIP_RDONLY, &code);
  if (state->zip == nullptr) {
    if (code == ZIP_ER_NOENT)
      return Fail(ErrorCode::kNotFound, fmt::format("open {}: there is no such file", path.string()));
    zip_error_t error;
    zip_error_init_with_code(&error, code);
    const std::string cause = zip_error_strerror(&error);
    zip_error_fini(&error);
    return Broken(fmt::format("not a readable .npz (zip): {}", cause));
  }
  const zip_int64_t count = zip_get_num_entries(state->zip, 0);
  if (count > kMaxEntries) return Broken(fmt::format("{} entries are over the bound of {}", count, kMaxEntries));
  uint64_t total = 0;
  std::set<std::string> seen;
  for (zip_int64_t i = 0; i < count; ++i) {
    zip_stat_t stat;
    zip_stat_init(&stat);
    if (zip_stat_index(state->zip, static_cast<zip_uint64_t>(i), 0, &stat) != 0) {
      return Broken(fmt::format("broken zip directory: {}", zip_strerror(state->zip)));
    }
    constexpr zip_uint64_t needed =
        ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD | ZIP_STAT_ENCRYPTION_METHOD;
    if ((stat.valid & needed) != needed) return Broken("broken zip directory: an entry lacks its name or sizes");
    const std::string entry = stat.name;
    const std::string shown = Printable(entry, 256);
    if (!seen.insert(entry).second) return Broken(fmt::format("two entries are named '{}'", shown));
    if (!entry.ends_with(".npy")) continue;
    if (stat.encryption_method != ZIP_EM_NONE) return Broken(fmt::format("entry '{}' is encrypted", shown));
    const bool stored = stat.comp_method == ZIP_CM_STORE;
    if (!stored && stat.comp_method != ZIP_CM_DEFLATE) {
      return Broken(fmt::format("entry '{}' is neither stored nor deflated", shown));
    }
    const uint64_t limit = stored                          ? stat.comp_size
                           : stat.comp_size > kNpzMaxBytes ? kNpzMaxBytes
                                                           : stat.comp_size * kDeflateLimit + 64;
    if (stat.size > limit)
      return Broken(
          fmt::format("entry '{}' declares {} bytes, more than its {} can hold", shown, stat.size, stat.comp_size));
    if (stat.size > kNpzMaxBytes || (total += stat.size) > kNpzMaxBytes) {
      return Broken(fmt::format("the arrays are over the bound of {} together", HumanBytes(kNpzMaxBytes)));
    }
    const std::string name = entry.substr(0, entry.size() - 4);
    state->names.push_back(name);
    state->entries[name] = {static_cast<zip_uint64_t>(i), stat.size};
  }
  return NpzFile(std::move(state));
}

Result<ZipEntry> NpzFile::State::Start(const std::string& name, NpyHeader& header) const {
  const auto found = entries.find(name);
  if (found == entries.end())
    return Fail(ErrorCode::kNotFound, fmt::format("there is no array '{}'", Printable(name, 256)));
  const EntryInfo& info = found->second;
  ZipEntry file(zip_fopen_index(zip, info.index, 0));
  if (!file) return Broken(fmt::format("broken zip entry: {}", zip_strerror(zip)));

  std::string start(std::min<uint64_t>(info.bytes, kNpyLongestPreamble), '\0');
  TRY(ReadExactly(file.get(), start.data(), start.size()));
  TRY_ASSIGN(const NpyPreamble preamble, ParseNpyPreamble(start));
  if (preamble.bytes + preamble.header_bytes > info.bytes) return Broken("truncated .npy header");
  // A version 1 preamble is two bytes shorter than what was read.
  std::string text = start.substr(preamble.bytes);
  if (preamble.header_bytes < text.size()) return Broken("malformed .npy header: too short");
  const size_t already = text.size();
  text.resize(preamble.header_bytes);
  TRY(ReadExactly(file.get(), text.data() + already, text.size() - already));
  TRY_ASSIGN(header, ParseNpyHeader(text));

  if (header.type == 0) return file;
  const int64_t elements = ElementCount(header.dims);
  const uint64_t held = info.bytes - preamble.bytes - preamble.header_bytes;
  uint64_t declared = 0;
  if (elements < 0 || __builtin_mul_overflow(static_cast<uint64_t>(elements), ElementBytes(header.type), &declared) ||
      declared != held) {
    return Broken(fmt::format("the header says {} {} and the entry holds {} bytes of data", ElementName(header.type),
                              ShapeText(header.dims), held));
  }
  return file;
}

Result<NpyHeader> NpzFile::Header(const std::string& name) const {
  NpyHeader header;
  TRY(state_->Start(name, header));
  return header;
}

Result<Tensor> NpzFile::Rows(const std::string& name, int64_t first, int64_t count) const {
  NpyHeader header;
  TRY_ASSIGN(const ZipEntry file, state_->Start(name, header));
  CHECK_THAT(header.type != 0 && !header.dims.empty());
  CHECK_THAT(first >= 0 && count >= 0 && first + count <= header.dims[0]);
  const size_t element_bytes = ElementBytes(header.type);
  const uint64_t all_bytes = static_cast<uint64_t>(ElementCount(header.dims)) * element_bytes;
  const uint64_t row_bytes = header.dims[0] == 0 ? 0 : all_bytes / static_cast<uint64_t>(header.dims[0]);

  Tensor rows{name, header.type, header.dims, {}};
  rows.dims[0] = count;
  if (header.fortran_order) {
    TRY_ASSIGN(std::vector<std::byte> all, Allocate(all_bytes));
    TRY(ReadExactly(file.get(), all.data(), all.size()));
    rows.bytes = RowsOfFortran(all, header.dims, element_bytes, first, count);
  } else {
    const uint64_t before = static_cast<uint64_t>(first) * row_bytes;
    TRY_ASSIGN(rows.bytes, Allocate(static_cast<uint64_t>(count) * row_bytes));
    TRY(Skip(file.get(), before));
    TRY(ReadExactly(file.get(), rows.bytes.data(), rows.bytes.size()));
    TRY(Skip(file.get(), all_bytes - before - rows.bytes.size()));
  }
  TRY(ExpectEnd(file.get()));
  if (header.big_endian) SwapBytes(rows.bytes, element_bytes);
  if (header.type == kBool) {
    for (std::byte& byte : rows.bytes) byte = byte == std::byte{0} ? std::byte{0} : std::byte{1};
  }
  return rows;
}

namespace {

// One input's array: `whole` holds the selected samples; a sample is `rows` entries of the first axis.
struct Column {
  Tensor whole;
  int64_t rows = 1;
  bool keeps_axis = true;  // The sample keeps the first axis (as `rows`), or is one entry without it.
};

class NpzDataSet : public DataSet {
 public:
  NpzDataSet(std::vector<Column> columns, std::vector<int64_t> labels, size_t size, std::string digest)
      : columns_(std::move(columns)), labels_(std::move(labels)), size_(size), digest_(std::move(digest)) {}

  size_t size() const override { return size_; }
  const std::vector<int64_t>& labels() const override { return labels_; }
  std::string digest() const override { return digest_; }

  Result<std::vector<Tensor>> Get(size_t index) const override {
    CHECK_THAT(index < size_);
    std::vector<Tensor> sample;
    for (const Column& column : columns_) {
      Tensor tensor{column.whole.name, column.whole.type, column.whole.dims, {}};
      if (column.keeps_axis) {
        tensor.dims[0] = column.rows;
      } else {
        tensor.dims.erase(tensor.dims.begin());
      }
      const size_t bytes = column.whole.bytes.size() / size_;
      const auto begin = column.whole.bytes.begin() + static_cast<std::ptrdiff_t>(index * bytes);
      tensor.bytes.assign(begin, begin + static_cast<std::ptrdiff_t>(bytes));
      sample.push_back(std::move(tensor));
    }
    return sample;
  }

 private:
  const std::vector<Column> columns_;
  const std::vector<int64_t> labels_;
  const size_t size_;
  const std::string digest_;
};

// How one array serves its input, before anything of it is read.
struct Fit {
  int64_t rows = 1;
  bool keeps_axis = true;
  int64_t samples = 0;
};

class NpzReader {
 public:
  NpzReader(const proto::LocalData& data, const std::vector<InputSignature>& inputs, NpzFile file)
      : data_(data), inputs_(inputs), file_(std::move(file)) {}

  Result<std::unique_ptr<DataSet>> Read() {
    std::vector<Fit> fits;
    for (const InputSignature& input : inputs_) {
      TRY_ASSIGN(const Fit fit, FitArray(input));
      fits.push_back(fit);
    }
    TRY(CheckLengths(fits));
    const int64_t total = fits[0].samples;
    const uint64_t from = std::min<uint64_t>(data_.from(), static_cast<uint64_t>(total));
    const uint64_t left = static_cast<uint64_t>(total) - from;
    const int64_t first = static_cast<int64_t>(from);
    const int64_t count = static_cast<int64_t>(data_.samples() == 0 ? left : std::min<uint64_t>(left, data_.samples()));
    if (count == 0) {
      return Fail(
          ErrorCode::kRejected,
          fmt::format("no sample is selected: there are {} and the selection starts at {}", total, data_.from()),
          "choose a smaller `from`");
    }
    std::vector<Column> columns;
    for (size_t i = 0; i < inputs_.size(); ++i) {
      TRY_ASSIGN(Column column, ReadColumn(inputs_[i], fits[i], first, count));
      columns.push_back(std::move(column));
    }
    TRY_ASSIGN(std::vector<int64_t> labels, ReadLabels(total, first, count));
    return std::make_unique<NpzDataSet>(
        std::move(columns), std::move(labels), static_cast<size_t>(count),
        DataDigest(data_.data().bundle(), data_.from(), data_.samples(), data_.preprocess()));
  }

 private:
  static std::string Array(const std::string& name) { return fmt::format("array '{}'", Printable(name, 256)); }

  Result<Fit> FitArray(const InputSignature& input) const {
    if (!file_.Has(input.name)) {
      const std::string names = file_.names().empty() ? "none" : Printable(Join(file_.names(), ", "), 512);
      return Fail(ErrorCode::kRejected,
                  fmt::format("there is no array for input {}{} (arrays: {})", SignatureText(input),
                              DidYouMean(input.name, file_.names()), names),
                  "save one array a model input, under the input's name");
    }
    auto read = file_.Header(input.name);
    if (!read) return FailWith(Array(input.name), read.error());
    const NpyHeader& header = *read;
    if (header.type == 0) {
      return Fail(ErrorCode::kRejected,
                  fmt::format("{} has type {}, which is no number that hone reads; input {} is to be fed",
                              Array(input.name), Printable(header.descr, 64), SignatureText(input)));
    }
    Fit fit;
    const size_t rank = input.dims.size();
    fit.keeps_axis = header.dims.size() == rank;
    std::vector<int64_t> sample = header.dims;
    if (fit.keeps_axis && rank > 0) {
      fit.rows = std::max<int64_t>(input.dims[0], 1);
      if (input.dims[0] < 0) fit.rows = 1;
      fit.samples = header.dims[0] / fit.rows;
      sample[0] = fit.rows;
    } else if (header.dims.size() == rank + 1) {
      fit.samples = header.dims[0];
      sample.erase(sample.begin());
    }
    if ((rank == 0 && fit.keeps_axis) || sample.size() != rank || !FitsShape(input.dims, sample)) {
      return Fail(ErrorCode::kRejected,
                  fmt::format("input {} is to be fed, and {} has shape {}", SignatureText(input), Array(input.name),
                              ShapeText(header.dims)),
                  "the first axis counts the samples; the others must be the input's");
    }
    if (fit.samples == 0) {
      return Fail(ErrorCode::kRejected, fmt::format("{} of shape {} holds no whole sample for input {}",
                                                    Array(input.name), ShapeText(header.dims), SignatureText(input)));
    }
    return fit;
  }

  Result<> CheckLengths(const std::vector<Fit>& fits) const {
    for (size_t i = 1; i < fits.size(); ++i) {
      if (fits[i].samples == fits[0].samples) continue;
      return Fail(ErrorCode::kRejected, fmt::format("arrays of unequal length: '{}' has {} samples and '{}' has {}",
                                                    Printable(inputs_[0].name, 256), fits[0].samples,
                                                    Printable(inputs_[i].name, 256), fits[i].samples));
    }
    return {};
  }

  Result<Column> ReadColumn(const InputSignature& input, const Fit& fit, int64_t first, int64_t count) const {
    auto rows = file_.Rows(input.name, first * fit.rows, count * fit.rows);
    if (!rows) return FailWith(Array(input.name), rows.error());
    auto converted = ConvertTensor(std::move(*rows), input.type);
    if (!converted)
      return FailWith(fmt::format("{} for input {}", Array(input.name), SignatureText(input)), converted.error());
    return Column{std::move(*converted), fit.rows, fit.keeps_axis};
  }

  Result<std::vector<int64_t>> ReadLabels(int64_t total, int64_t first, int64_t count) const {
    const std::string name = "labels";
    const bool is_input =
        std::any_of(inputs_.begin(), inputs_.end(), [&](const InputSignature& input) { return input.name == name; });
    if (!file_.Has(name) || is_input) return std::vector<int64_t>{};
    auto header = file_.Header(name);
    if (!header) return FailWith(Array(name), header.error());
    const std::vector<int64_t>& dims = header->dims;
    const bool shaped = dims.size() == 1 || (dims.size() == 2 && dims[1] == 1);
    if (header->type == 0 || !shaped || dims[0] != total) {
      return Fail(ErrorCode::kRejected,
                  fmt::format("{} has {} {}, and one integer for each of {} samples is wanted", Array(name),
                              header->type == 0 ? Printable(header->descr, 64) : ElementName(header->type),
                              ShapeText(dims), total));
    }
    auto rows = file_.Rows(name, first, count);
    if (!rows) return FailWith(Array(name), rows.error());
    auto labels = ConvertTensor(std::move(*rows), kInt64);
    if (!labels) return FailWith(Array(name), labels.error());
    return std::vector<int64_t>(labels->data<int64_t>(), labels->data<int64_t>() + count);
  }

  const proto::LocalData& data_;
  const std::vector<InputSignature>& inputs_;
  const NpzFile file_;
};

}  // namespace

Result<std::unique_ptr<DataSet>> OpenNpz(const proto::LocalData& data, const std::vector<InputSignature>& inputs) {
  const std::filesystem::path path = std::filesystem::path(data.data().folder()) / data.data().bundle().main();
  TRY_ASSIGN(NpzFile file, NpzFile::Open(path));
  if (inputs.empty()) return Fail(ErrorCode::kRejected, "the model has no inputs to feed");
  return NpzReader(data, inputs, std::move(file)).Read();
}

}  // namespace hone
