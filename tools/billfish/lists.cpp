// SPDX-License-Identifier: Apache-2.0
#include "lists.hpp"

#include <charconv>

#include "errors.hpp"
#include "types.hpp"

namespace billfish::cli {
namespace {

constexpr const char* kListGroup = "Lists (values separated by commas or spaces)";

bool is_number(const std::string& text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

bool is_item(const std::string& text) { return is_number(text) || is_type_word(text); }

// Every part of "1,2 u4" is an item. A path never is, unless it is a bare number.
bool is_list(const std::string& text) {
  const auto parts = split_list(text);
  if (parts.empty()) return false;
  for (const std::string& part : parts) {
    if (!is_item(part)) return false;
  }
  return true;
}

bool is_list_option(const Arguments& command, const std::string& word) {
  return word.starts_with("-") && command.group_of(word) == kListGroup;
}

}  // namespace

Argument add_list_option(Arguments& arguments, const std::string& names, std::string& target, const std::string& help) {
  const auto not_empty = [](const std::string& text) {
    return split_list(text).empty() ? std::string("this list is empty: give at least one value, or leave the option out") : std::string();
  };
  return arguments.add_option(names, target, help).check(not_empty).group(kListGroup).value_name("LIST").show_default();
}

std::vector<std::string> split_list(const std::string& text) {
  std::vector<std::string> parts;
  std::string part;
  for (const char c : text + ",") {
    if (c != ',' && c != ' ' && c != '\t') {
      part += c;
    } else if (!part.empty()) {
      parts.push_back(part);
      part.clear();
    }
  }
  return parts;
}

std::vector<std::int64_t> parse_numbers(const std::string& text, const std::string& option, std::int64_t low, std::int64_t high) {
  std::vector<std::int64_t> numbers;
  bool open = true;  // nothing stands before the next comma; one after the last item is allowed
  for (const char c : text) {
    if (c == ',' && open)
      fail(kUsage, "{} has the value '{}': an item is empty, a whole number from {} to {} is needed", option, text, low, high);
    if (c != ' ' && c != '\t') open = c == ',';
  }
  for (const std::string& part : split_list(text)) {
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), value);
    if (error != std::errc() || end != part.data() + part.size() || value < low || value > high) {
      fail(kUsage, "{} has the value '{}': a whole number from {} to {} is needed", option, part, low, high);
    }
    numbers.push_back(value);
  }
  if (numbers.empty()) fail(kUsage, "{} is an empty list: give at least one number", option);
  return numbers;
}

std::vector<std::string> join_lists(const Arguments& command, const std::vector<std::string>& arguments) {
  std::vector<std::string> joined;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    joined.push_back(arguments[i]);
    if (arguments[i] == "--") {  // positional values only from here on
      joined.insert(joined.end(), arguments.begin() + static_cast<std::ptrdiff_t>(i) + 1, arguments.end());
      break;
    }
    const std::size_t equals = arguments[i].find('=');
    const bool inline_value = equals != std::string::npos;
    if (!is_list_option(command, arguments[i].substr(0, equals)) || i + 1 == arguments.size()) continue;
    if (!inline_value) joined.push_back(arguments[++i]);
    while (i + 1 < arguments.size() && is_list(joined.back().substr(inline_value ? equals + 1 : 0)) && is_list(arguments[i + 1])) {
      const bool comma = joined.back().ends_with(",") || arguments[i + 1].starts_with(",");
      joined.back() += (comma ? "" : ",") + arguments[++i];
    }
  }
  return joined;
}

}  // namespace billfish::cli
