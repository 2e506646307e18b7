// SPDX-License-Identifier: Apache-2.0
// What a command takes on its command line: options, positional arguments, flags, parts. Filled by the add_ function of every command;
// main.cpp has it parsed. arguments.cpp alone knows CLI11, which is slow to compile.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace billfish::cli {

template <typename T, typename... Types>
constexpr bool kIsOneOf = (std::is_same_v<T, Types> || ...);
// What an option's word may become; instantiated in arguments.cpp.
template <typename T>
constexpr bool kIsOptionValue =
    kIsOneOf<T, std::string, std::vector<std::string>, int, std::int64_t, std::uint64_t, double, std::optional<double>>;

// One option or positional argument: what it takes, and how --help shows it. Each function returns it again.
class Argument {
 public:
  explicit Argument(CLI::Option* option) : option_(option) {}
  Argument& required();
  Argument& value_name(const std::string& name);  // "FILE"
  Argument& show_default();                       // what the target holds now, in --help
  Argument& group(const std::string& heading);    // under which --help lists it
  Argument& several();                            // at least one value, and as many as follow
  Argument& within(int low, int high);
  Argument& positive();
  Argument& not_negative();
  Argument& check(const std::function<std::string(const std::string& word)>& what_is_wrong);  // "": nothing is

 private:
  CLI::Option* option_;
};

// Those of the tool or of one command. A copy is about the same ones. Targets must live until the command has run.
class Arguments {
 public:
  Arguments(const std::string& summary, const std::string& name);  // of the tool

  // names: "--m,--batch-sizes", or "path" for a positional argument.
  template <typename T>
  requires kIsOptionValue<T> Argument add_option(const std::string& names, T& target, const std::string& help);
  void add_flag(const std::string& name, bool& target, const std::string& help);
  void add_version_flag(const std::string& name, const std::string& version);
  // One of the commands must be given. They take over the footer that is set by then, until they have one of their own.
  Arguments add_command(const std::string& name, const std::string& summary);
  void footer(const std::string& text);

  // The heading of an option, "" if there is no such option.
  std::string group_of(const std::string& option) const;

  // Fills the targets. The exit code if --help or --version was all that was asked; Failure(kUsage) says what is wrong.
  std::optional<int> parse(const std::vector<std::string>& words);
  std::string chosen_command() const;  // of those added here, once parsed

 private:
  explicit Arguments(std::shared_ptr<CLI::App> app) : app_(std::move(app)) {}
  std::shared_ptr<CLI::App> app_;  // of a command: keeps the tool's alive, which owns it
};

}  // namespace billfish::cli
