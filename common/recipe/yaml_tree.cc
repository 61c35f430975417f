#include "common/recipe/yaml_tree.h"

#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <optional>
#include <sstream>
#include <utility>

#include "common/base/strings.h"

namespace hone {
namespace {

constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";

// Leaves yaml-cpp's parser, whose event interface has no other way out; caught in ParseYamlTree.
struct Stopped {
  Error error;
};

// Bytes to lines and characters.
class Places {
 public:
  explicit Places(std::string_view text) : text_(text) {
    for (size_t end = text.find('\n'); end != std::string_view::npos; end = text.find('\n', end + 1))
      starts_.push_back(end + 1);
  }

  YamlPlace Of(size_t byte) const {
    byte = std::min(byte, text_.size());
    const auto line = std::upper_bound(starts_.begin(), starts_.end(), byte) - 1;
    return {static_cast<uint32_t>(line - starts_.begin()) + 1, Characters(*line, byte) + 1};
  }

  // yaml-cpp counts lines and bytes of a line from 0; its null mark is -1.
  YamlPlace Of(const YAML::Mark& mark) const {
    if (mark.line < 0 || mark.column < 0) return {1, 1};
    const size_t line = std::min(static_cast<size_t>(mark.line), starts_.size() - 1);
    const size_t byte = std::min(starts_[line] + static_cast<size_t>(mark.column), text_.size());
    return {static_cast<uint32_t>(line) + 1, Characters(starts_[line], byte) + 1};
  }

  // Whether the quoted text that begins there is closed: yaml-cpp takes the end of the file for a quote.
  bool IsClosed(const YAML::Mark& mark) const {
    if (mark.line < 0 || mark.column < 0 || static_cast<size_t>(mark.line) >= starts_.size()) return true;
    const size_t begin = starts_[static_cast<size_t>(mark.line)] + static_cast<size_t>(mark.column);
    const char quote = begin < text_.size() ? text_[begin] : ' ';
    if (quote != '"' && quote != '\'') return true;
    for (size_t i = begin + 1; i < text_.size(); ++i) {
      if (quote == '"' && text_[i] == '\\') {
        ++i;
      } else if (text_[i] == quote) {
        const bool is_doubled = quote == '\'' && i + 1 < text_.size() && text_[i + 1] == quote;
        if (!is_doubled) return true;
        ++i;
      }
    }
    return false;
  }

  bool IsIndentedWithTab(uint32_t line) const {
    const std::string_view rest = text_.substr(starts_[line - 1]);
    return rest.substr(0, rest.find_first_not_of(" \t")).find('\t') != std::string_view::npos;
  }

 private:
  uint32_t Characters(size_t begin, size_t end) const {
    return static_cast<uint32_t>(std::count_if(text_.begin() + static_cast<std::ptrdiff_t>(begin),
                                               text_.begin() + static_cast<std::ptrdiff_t>(end),
                                               [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
  }

  std::string_view text_;
  std::vector<size_t> starts_ = {0};
};

Error ErrorAt(const std::string& file, YamlPlace place, std::string message, std::string remedy = {}) {
  return {ErrorCode::kRejected, std::move(message), std::move(remedy), file, place.line, place.column};
}

// Builds the tree from events. open_ holds the lists and maps that are not yet closed; a map that waits for a value has
// its key in front.
class TreeBuilder : public YAML::EventHandler {
 public:
  TreeBuilder(const std::string& file, const Places& places, const std::string& what, Mistakes* repeated)
      : file_(file), places_(places), what_(what), repeated_(repeated) {}

  std::optional<YamlNode> Take() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (root_) Stop(places_.Of(mark), "a second document begins here", fmt::format("Write one {} a file", what_));
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    CheckPlain(mark, "?", anchor);
    Add(NodeAt(mark, YamlNode::Kind::kNull));
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override { RefuseAnchor(places_.Of(mark)); }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    CheckPlain(mark, tag, anchor);
    YamlNode node = NodeAt(mark, YamlNode::Kind::kScalar);
    node.text = value;
    node.plain = tag != "!";
    if (!node.plain && !places_.IsClosed(mark))
      Stop(node.place, "a quote begins here and is never closed", "Close it, or leave it out");
    Add(std::move(node));
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    Open(mark, tag, anchor, YamlNode::Kind::kList);
  }
  void OnSequenceEnd() override { Close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    Open(mark, tag, anchor, YamlNode::Kind::kMap);
  }
  void OnMapEnd() override { Close(); }

 private:
  struct OpenNode {
    YamlNode node;
    bool has_key = false;   // The last entry of the map waits for its value.
    bool is_repeated = false;  // That entry is a mistake and goes once its value is read.
  };

  [[noreturn]] void Stop(YamlPlace place, std::string message, std::string remedy = {}) const {
    throw Stopped{ErrorAt(file_, place, std::move(message), std::move(remedy))};
  }
  [[noreturn]] void RefuseAnchor(YamlPlace place) const {
    Stop(place, fmt::format("anchors and aliases are not allowed in a {}", what_), "Write the values out");
  }

  YamlNode NodeAt(const YAML::Mark& mark, YamlNode::Kind kind) const {
    YamlNode node;
    node.kind = kind;
    node.place = places_.Of(mark);
    return node;
  }

  void CheckPlain(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) const {
    if (anchor != YAML::NullAnchor) RefuseAnchor(places_.Of(mark));
    const bool untagged = tag.empty() || tag == "?" || tag == "!";
    if (!untagged) {
      Stop(places_.Of(mark), fmt::format("the tag '{}' is not allowed in a {}", Printable(tag, 80), what_),
           "Leave the tag out; quote what shall be text");
    }
  }

  void Open(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, YamlNode::Kind kind) {
    CheckPlain(mark, tag, anchor);
    YamlNode node = NodeAt(mark, kind);
    if (open_.size() >= kMaxYamlDepth)
      Stop(node.place, fmt::format("lists and maps are nested more than {} deep", kMaxYamlDepth));
    if (WantsKey()) Stop(node.place, "a key must be a word, is a list or a map");
    open_.push_back({std::move(node)});
  }

  void Close() {
    YamlNode node = std::move(open_.back().node);
    open_.pop_back();
    Add(std::move(node));
  }

  bool WantsKey() const {
    return !open_.empty() && open_.back().node.kind == YamlNode::Kind::kMap && !open_.back().has_key;
  }

  void Add(YamlNode node) {
    if (open_.empty()) {
      root_ = std::move(node);
    } else if (open_.back().node.kind == YamlNode::Kind::kList) {
      AddItem(std::move(node));
    } else if (WantsKey()) {
      AddKey(std::move(node));
    } else {
      YamlEntry& entry = open_.back().node.entries.back();
      if (node.kind == YamlNode::Kind::kNull) node.place = entry.place;
      entry.value = std::move(node);
      open_.back().has_key = false;
      if (std::exchange(open_.back().is_repeated, false)) open_.back().node.entries.pop_back();
    }
  }

  void AddItem(YamlNode node) {
    std::vector<YamlNode>& items = open_.back().node.items;
    if (items.size() >= kMaxYamlItems) Stop(node.place, fmt::format("the list has more than {} items", kMaxYamlItems));
    items.push_back(std::move(node));
  }

  void AddKey(YamlNode node) {
    if (node.kind != YamlNode::Kind::kScalar) Stop(node.place, "a key must be a word, is empty");
    std::vector<YamlEntry>& entries = open_.back().node.entries;
    if (entries.size() >= kMaxYamlItems) Stop(node.place, fmt::format("the map has more than {} keys", kMaxYamlItems));
    const auto same =
        std::find_if(entries.begin(), entries.end(), [&](const YamlEntry& entry) { return entry.key == node.text; });
    if (same != entries.end()) {
      Error error = ErrorAt(
          file_, node.place,
          fmt::format("the key '{}' is given twice, first in line {}", Printable(node.text, 80), same->place.line));
      if (repeated_ == nullptr) throw Stopped{std::move(error)};
      repeated_->Add(std::move(error));
      open_.back().is_repeated = true;
    }
    entries.push_back({std::move(node.text), node.place, {}});
    open_.back().has_key = true;
  }

  const std::string& file_;
  const Places& places_;
  const std::string& what_;
  Mistakes* const repeated_;
  std::vector<OpenNode> open_;
  std::optional<YamlNode> root_;
};

Result<> CheckBytes(std::string_view text, const std::string& file, const std::string& what) {
  if (text.size() > kMaxYamlBytes) {
    return Fail(ErrorAt(file, {1, 1},
                        fmt::format("the {} has {} bytes, at most {} are read", what, text.size(), kMaxYamlBytes)));
  }
  const Places places(text);
  // The first broken place is where the longest good prefix ends; lines are short, so each is looked at on its own
  // first.
  size_t begin = 0;
  while (begin < text.size()) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = text.substr(begin, end - begin);
    if (!IsUtf8(line)) {
      size_t good = 0;
      for (size_t next = 1; next <= line.size(); ++next) {
        if (IsUtf8(line.substr(good, next - good))) good = next;
        if (next - good >= 4) break;
      }
      return Fail(ErrorAt(file, places.Of(begin + good), "the text is not UTF-8", "Save the file as UTF-8"));
    }
    for (size_t i = 0; i < line.size(); ++i) {
      const auto byte = static_cast<unsigned char>(line[i]);
      const bool line_end = byte == '\r' && i + 1 == line.size();
      if ((byte >= 0x20 && byte != 0x7f) || byte == '\t' || line_end) continue;
      return Fail(
          ErrorAt(file, places.Of(begin + i), fmt::format("the control character 0x{:02x} is not allowed", byte)));
    }
    begin = end + 1;
  }
  return {};
}

}  // namespace

Result<YamlNode> ParseYamlTree(std::string_view text, const std::string& file, const std::string& what,
                               Mistakes* repeated) {
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  TRY(CheckBytes(text, file, what));
  const Places places(text);
  TreeBuilder builder(file, places, what, repeated);
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const Stopped& stopped) {
    return Fail(stopped.error);
  } catch (const YAML::Exception& exception) {
    const YamlPlace place = places.Of(exception.mark);
    const std::string remedy =
        places.IsIndentedWithTab(place.line) ? "Indent with spaces, YAML takes no tabs there" : "";
    return Fail(ErrorAt(file, place, "cannot be read as YAML: " + Printable(exception.msg, 200), remedy));
  } catch (const std::exception& exception) {
    return Fail(ErrorAt(file, {1, 1}, fmt::format("cannot be read as YAML: {}", Printable(exception.what(), 200))));
  }
  std::optional<YamlNode> root = builder.Take();
  if (!root || root->kind == YamlNode::Kind::kNull) {
    return Fail(ErrorAt(file, {1, 1}, fmt::format("the {} is empty", what),
                        fmt::format("Write '{{}}' for a {} of defaults", what)));
  }
  return *std::move(root);
}

}  // namespace hone
