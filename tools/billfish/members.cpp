// SPDX-License-Identifier: Apache-2.0
#include "members.hpp"

#include <cmath>
#include <vector>

#include "errors.hpp"
#include "files.hpp"

namespace billfish::cli {
namespace {

constexpr std::size_t kShown = 120;  // bytes of a value that a message shows

}  // namespace

std::string shown(const Json& value) {
  std::string text = text_of_json(value);
  if (text.size() <= kShown) return text;
  std::size_t end = kShown;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;  // between characters of UTF-8
  return text.substr(0, end) + "...";
}

void Document::refuse(const std::string& problem) const { fail(kBadInput, "{}: {}; {}", path, problem, remedy); }

Document read_document(const std::string& path, const std::string& problem, const std::string& remedy) {
  const std::vector<std::byte> bytes = read_file(path);
  Document document{path, remedy, parse_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()})};
  if (!document.json.is_object()) document.refuse(problem);
  return document;
}

Members::Members(const Document& document, const Json& object, std::string place)
    : document_(document), object_(object), place_(std::move(place)) {
  if (!object_.is_object()) document_.refuse(fmt::format("{} is {}, an object is needed", place_, shown(object_)));
}

void Members::refuse(const char* name, const std::string& needed) const {
  const std::string member = place_.empty() ? name : place_ + "." + name;
  document_.refuse(fmt::format("{} is {}, {} is needed", member, shown(object_[name]), needed));
}

std::string Members::words(const char* name, const std::string& otherwise) const {
  if (!has(name)) return otherwise;
  if (!object_[name].is_string()) refuse(name, "a text");
  return object_[name].get<std::string>();
}

bool Members::flag(const char* name, bool otherwise) const {
  if (!has(name)) return otherwise;
  if (!object_[name].is_boolean()) refuse(name, "true or false");
  return object_[name].get<bool>();
}

double Members::number(const char* name, double least, double most) const {
  if (!has(name)) return 0;
  const double value = number_of(object_[name], NAN);
  if (value >= least && value <= most) return value;
  refuse(name, least == -kMostNumber ? "a number"
               : most == kMostNumber ? fmt::format("a number of {:g} or more", least)
                                     : fmt::format("a number from {:g} to {:g}", least, most));
}

std::int64_t Members::whole(const char* name, std::int64_t least, std::int64_t most) const {
  if (!has(name)) return 0;
  const double value = number_of(object_[name], NAN);
  if (!(value >= static_cast<double>(least) && value <= static_cast<double>(most)) || value != std::floor(value)) {
    refuse(name, fmt::format("a whole number from {} to {}", least, most));
  }
  return static_cast<std::int64_t>(value);
}

void Members::need(std::initializer_list<const char*> names) const {
  for (const char* name : names) {
    if (!has(name)) document_.refuse(fmt::format("{} has no {}", place_.empty() ? "it" : place_, name));
  }
}

}  // namespace billfish::cli
