#include "worker/runner/well_formed.h"

#include <google/protobuf/descriptor.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace hone {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// Lead bytes by length, with the range of the second byte that keeps out overlong forms, surrogates and what lies past
// U+10FFFF.
struct LeadRow {
  uint8_t first, last;
  size_t length;
  uint8_t second_low, second_high;
};
constexpr LeadRow kLeads[] = {
    {0x00, 0x7f, 1, 0x00, 0x00}, {0xc2, 0xdf, 2, 0x80, 0xbf}, {0xe0, 0xe0, 3, 0xa0, 0xbf}, {0xe1, 0xec, 3, 0x80, 0xbf},
    {0xed, 0xed, 3, 0x80, 0x9f}, {0xee, 0xef, 3, 0x80, 0xbf}, {0xf0, 0xf0, 4, 0x90, 0xbf}, {0xf1, 0xf3, 4, 0x80, 0xbf},
    {0xf4, 0xf4, 4, 0x80, 0x8f},
};

// Length of the well-formed character at the start of the text; 0 if there is none.
size_t CharacterLength(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  for (const LeadRow& row : kLeads) {
    if (byte(0) < row.first || byte(0) > row.last) continue;
    if (text.size() < row.length) return 0;
    if (row.length > 1 && (byte(1) < row.second_low || byte(1) > row.second_high)) return 0;
    for (size_t i = 2; i < row.length; ++i) {
      if (byte(i) < 0x80 || byte(i) > 0xbf) return 0;
    }
    return row.length;
  }
  return 0;
}

std::string WellFormed(const std::string& text) {
  std::string fit;
  fit.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const size_t length = CharacterLength(std::string_view(text).substr(i));
    fit.append(length == 0 ? "?" : text.substr(i, length));
    i += length == 0 ? 1 : length;
  }
  return fit;
}

void VisitText(Message& message, const Reflection& reflection, const FieldDescriptor* field) {
  if (!field->is_repeated())
    return reflection.SetString(&message, field, WellFormed(reflection.GetString(message, field)));
  for (int i = 0; i < reflection.FieldSize(message, field); ++i) {
    reflection.SetRepeatedString(&message, field, i, WellFormed(reflection.GetRepeatedString(message, field, i)));
  }
}

void VisitMessages(Message& message, const Reflection& reflection, const FieldDescriptor* field) {
  if (!field->is_repeated()) return MakeWellFormed(*reflection.MutableMessage(&message, field));
  for (int i = 0; i < reflection.FieldSize(message, field); ++i)
    MakeWellFormed(*reflection.MutableRepeatedMessage(&message, field, i));
}

}  // namespace

void MakeWellFormed(Message& message) {
  const Reflection& reflection = *message.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection.ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    if (field->type() == FieldDescriptor::TYPE_STRING) VisitText(message, reflection, field);
    if (field->type() == FieldDescriptor::TYPE_MESSAGE) VisitMessages(message, reflection, field);
  }
}

}  // namespace hone
