// SPDX-License-Identifier: Apache-2.0
// JSON files of the tool's own, which people may have edited or damaged. What is not as it must be is Failure(kBadInput): file, member,
// what is there, what is needed, and what to do.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <limits>
#include <string>

#include "json.hpp"

namespace billfish::cli {

constexpr double kMostNumber = std::numeric_limits<double>::max();

// A value as messages show it: its beginning, if it is long.
std::string shown(const Json& value);

struct Document {
  std::string path, remedy;  // remedy: what to do about a file that is wrong, the end of every message
  Json json;                 // an object

  // "PATH: PROBLEM; REMEDY"
  [[noreturn]] void refuse(const std::string& problem) const;
  // Whether the file is an object with a list of that name.
  bool has_list(const char* name) const { return json.contains(name) && json[name].is_array(); }
};

// problem: what is said of a file that is no JSON object, or nested deeper than any of ours.
Document read_document(const std::string& path, const std::string& problem, const std::string& remedy);

// One object of a document. null, which is what an unknown number is written as, is as good as no member.
class Members {
 public:
  explicit Members(const Document& document) : document_(document), object_(document.json) {}
  // place: "rows[3]"
  Members(const Document& document, const Json& object, std::string place);

  bool has(const char* name) const { return object_.contains(name) && !object_[name].is_null(); }
  std::string words(const char* name, const std::string& otherwise = {}) const;
  bool flag(const char* name, bool otherwise) const;
  double number(const char* name, double least = -kMostNumber, double most = kMostNumber) const;                 // 0 if it is not there
  std::int64_t whole(const char* name, std::int64_t least = -kMostWhole, std::int64_t most = kMostWhole) const;  // likewise
  void need(std::initializer_list<const char*> names) const;  // Failure if one of them is not there

 private:
  [[noreturn]] void refuse(const char* name, const std::string& needed) const;
  const Document& document_;
  const Json& object_;
  std::string place_;
};

}  // namespace billfish::cli
