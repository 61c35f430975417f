#include "client/importers/config_tree.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>

#include "common/base/file.h"
#include "common/base/strings.h"
#include "common/recipe/value.h"
#include "common/recipe/yaml_tree.h"

namespace hone::importers {
namespace {

constexpr size_t kMaxShownKey = 100;

Error ErrorAt(const std::string& file, uint32_t line, uint32_t column, std::string message, std::string remedy = {}) {
  return {ErrorCode::kRejected, std::move(message), std::move(remedy), file, line, column};
}

// Hands the text to nlohmann's parser and counts the lines on the way: its events know no place.
class CountingIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  CountingIterator(const char* at, uint32_t* line) : at_(at), line_(line) {}
  reference operator*() const { return *at_; }
  CountingIterator& operator++() {
    if (*at_ == '\n') ++*line_;
    ++at_;
    return *this;
  }
  CountingIterator operator++(int) {
    CountingIterator before = *this;
    ++*this;
    return before;
  }
  bool operator==(const CountingIterator& other) const { return at_ == other.at_; }
  bool operator!=(const CountingIterator& other) const { return at_ != other.at_; }

 private:
  const char* at_;
  uint32_t* line_;
};

// Builds the tree from events; `open_` holds the lists and maps that are not yet closed. Iterative, as the parser is:
// depth costs no stack.
class JsonBuilder : public nlohmann::json_sax<nlohmann::json> {
 public:
  JsonBuilder(const std::string& file, const uint32_t* line) : file_(file), line_(line) {}

  bool null() override { return Value({}); }
  bool boolean(bool value) override { return Value(BoolValue(value)); }
  bool number_integer(number_integer_t value) override { return Value(IntValue(value)); }
  bool number_unsigned(number_unsigned_t value) override {
    return Value(value <= INT64_MAX ? IntValue(static_cast<int64_t>(value)) : RealValue(static_cast<double>(value)));
  }
  bool number_float(number_float_t value, const string_t&) override { return Value(RealValue(value)); }
  bool string(string_t& value) override { return Value(TextValue(value)); }
  bool binary(binary_t&) override { return Stop("binary data"); }
  bool start_object(std::size_t) override { return Open(ConfigNode::Kind::map); }
  bool start_array(std::size_t) override { return Open(ConfigNode::Kind::list); }
  bool end_object() override { return Close(); }
  bool end_array() override { return Close(); }
  bool key(string_t& name) override {
    ConfigNode& map = open_.back();
    if (map.entries.size() >= kMaxYamlItems) return Stop(fmt::format("the map has more than {} keys", kMaxYamlItems));
    if (map.Find(name) != nullptr)
      return Stop(fmt::format("the key '{}' is given twice", Printable(name, kMaxShownKey)));
    map.entries.push_back({std::move(name), {}});
    return true;
  }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception& error) override {
    // "[json.exception.parse_error.101] parse error at line 3, column 5: ..."
    std::string what = error.what();
    const size_t colon = what.find(": ");
    return Stop("cannot be read as JSON: " +
                Printable(colon == std::string::npos ? what : what.substr(colon + 2), 200));
  }

  Result<ConfigNode> Take() {
    if (error_) return Fail(*error_);
    if (!root_) return Fail(ErrorAt(file_, 1, 0, "the configuration is empty"));
    return *std::move(root_);
  }

 private:
  bool Stop(std::string message) {
    if (!error_) error_ = ErrorAt(file_, *line_, 0, std::move(message));
    return false;
  }
  bool Value(proto::Value value) {
    if (++leaves_ > kMaxConfigLeaves)
      return Stop(fmt::format("the configuration has more than {} values", kMaxConfigLeaves));
    ConfigNode node;
    node.value = std::move(value);
    node.line = *line_;
    return Put(std::move(node));
  }
  bool Open(ConfigNode::Kind kind) {
    if (open_.size() >= kMaxConfigDepth)
      return Stop(fmt::format("lists and maps are nested more than {} deep", kMaxConfigDepth));
    if (++leaves_ > kMaxConfigLeaves)
      return Stop(fmt::format("the configuration has more than {} values", kMaxConfigLeaves));
    ConfigNode node;
    node.kind = kind;
    node.line = *line_;
    open_.push_back(std::move(node));
    return true;
  }
  bool Close() {
    ConfigNode node = std::move(open_.back());
    open_.pop_back();
    return Put(std::move(node));
  }
  bool Put(ConfigNode node) {
    if (open_.empty()) {
      root_ = std::move(node);
    } else if (open_.back().IsList() && open_.back().items.size() >= kMaxYamlItems) {
      return Stop(fmt::format("the list has more than {} items", kMaxYamlItems));
    } else if (open_.back().IsList()) {
      open_.back().items.push_back(std::move(node));
    } else {
      open_.back().entries.back().value = std::move(node);
    }
    return true;
  }

  const std::string& file_;
  const uint32_t* line_;
  std::vector<ConfigNode> open_;
  std::optional<ConfigNode> root_;
  std::optional<Error> error_;
  size_t leaves_ = 0;
};

Result<ConfigNode> ParseJson(std::string_view text, const std::string& file) {
  if (!IsUtf8(text)) return Fail(ErrorAt(file, 1, 0, "the text is not UTF-8", "Save the file as UTF-8"));
  uint32_t line = 1;
  JsonBuilder builder(file, &line);
  nlohmann::json::sax_parse(CountingIterator(text.data(), &line), CountingIterator(text.data() + text.size(), &line),
                            &builder);
  return builder.Take();
}

ConfigNode FromYaml(const YamlNode& yaml) {
  ConfigNode node;
  node.line = yaml.place.line;
  node.column = yaml.place.column;
  switch (yaml.kind) {
    case YamlNode::Kind::kNull:
      break;
    case YamlNode::Kind::kScalar:
      node.value = yaml.plain ? ParseValue(yaml.text) : TextValue(yaml.text);
      break;
    case YamlNode::Kind::kList:
      node.kind = ConfigNode::Kind::list;
      for (const YamlNode& item : yaml.items) node.items.push_back(FromYaml(item));
      break;
    case YamlNode::Kind::kMap:
      node.kind = ConfigNode::Kind::map;
      for (const YamlEntry& entry : yaml.entries) node.entries.push_back({entry.key, FromYaml(entry.value)});
      break;
  }
  return node;
}

void NumberFrom(ConfigNode& node, const std::string& path, size_t& next) {
  node.path = path;
  node.first_leaf = next;
  for (size_t i = 0; i < node.items.size(); ++i) NumberFrom(node.items[i], fmt::format("{}[{}]", path, i), next);
  for (ConfigEntry& entry : node.entries) {
    if (entry.value.line == 0) entry.value.line = node.line;
    NumberFrom(entry.value, path.empty() ? entry.key : path + "." + entry.key, next);
  }
  if (node.items.empty() && node.entries.empty()) ++next;
  node.leaves = next - node.first_leaf;
}

nlohmann::ordered_json JsonOf(const ConfigNode& node) {
  if (node.IsList()) {
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    for (const ConfigNode& item : node.items) list.push_back(JsonOf(item));
    return list;
  }
  if (node.IsMap()) {
    nlohmann::ordered_json map = nlohmann::ordered_json::object();
    for (const ConfigEntry& entry : node.entries) map[entry.key] = JsonOf(entry.value);
    return map;
  }
  switch (node.value.kind_case()) {
    case proto::Value::kBoolean:
      return node.value.boolean();
    case proto::Value::kInteger:
      return node.value.integer();
    case proto::Value::kReal:
      return node.value.real();
    case proto::Value::kText:
      return node.value.text();
    case proto::Value::KIND_NOT_SET:
      break;
  }
  return nullptr;
}

}  // namespace

const ConfigNode* ConfigNode::Find(std::string_view key) const {
  const auto entry =
      std::find_if(entries.begin(), entries.end(), [&](const ConfigEntry& each) { return each.key == key; });
  return entry == entries.end() ? nullptr : &entry->value;
}

Result<ConfigNode> ParseConfig(std::string_view text, const std::string& file) {
  if (text.size() > kMaxConfigBytes) {
    return Fail(ErrorAt(
        file, 0, 0, fmt::format("the configuration has {} bytes, at most {} are read", text.size(), kMaxConfigBytes)));
  }
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  const std::string_view trimmed = Trim(text);
  ConfigNode root;
  if (trimmed.starts_with('{') || trimmed.starts_with('[')) {
    TRY_ASSIGN(root, ParseJson(text, file));
  } else {
    TRY_ASSIGN(const YamlNode yaml, ParseYamlTree(text, file, "configuration"));
    root = FromYaml(yaml);
  }
  if (!root.IsMap()) return Fail(ErrorAt(file, 1, 0, "the configuration must be a map of keys to values"));
  Number(root);
  if (root.leaves > kMaxConfigLeaves) {
    return Fail(ErrorAt(file, 0, 0, fmt::format("the configuration has more than {} values", kMaxConfigLeaves)));
  }
  return root;
}

Result<ConfigNode> ReadConfig(const std::string& file) {
  Result<std::string> text = ReadFile(file, kMaxConfigBytes);
  if (!text) {
    Error error = std::move(text.error());
    if (error.code == ErrorCode::kNotFound) error.code = ErrorCode::kRejected;
    return FailWith("configuration " + Printable(file), std::move(error));
  }
  return ParseConfig(*text, file);
}

void Number(ConfigNode& root) {
  size_t next = 0;
  NumberFrom(root, "", next);
}

ConfigNode MapNode() {
  ConfigNode node;
  node.kind = ConfigNode::Kind::map;
  return node;
}

ConfigNode ListNode(std::vector<ConfigNode> items) {
  ConfigNode node;
  node.kind = ConfigNode::Kind::list;
  node.items = std::move(items);
  return node;
}

ConfigNode ScalarNode(proto::Value value) {
  ConfigNode node;
  node.value = std::move(value);
  return node;
}

ConfigNode TextNode(std::string text) { return ScalarNode(TextValue(std::move(text))); }

ConfigNode& Add(ConfigNode& map, std::string key, ConfigNode value) {
  map.entries.push_back({std::move(key), std::move(value)});
  return map.entries.back().value;
}

std::string ValueText(const ConfigNode& node, size_t most) {
  std::string text;
  if (node.IsText()) {
    text = node.value.text();
  } else {
    text = JsonOf(node).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  }
  return Printable(text, most);
}

tl::unexpected<Error> FailAt(const ConfigNode& node, std::string message, std::string remedy) {
  return Fail(ErrorAt("", node.line, node.column, std::move(message), std::move(remedy)));
}

}  // namespace hone::importers
