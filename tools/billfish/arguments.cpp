// SPDX-License-Identifier: Apache-2.0
#include "arguments.hpp"

#include <cerrno>
#include <cstdlib>
#include <type_traits>

#include <CLI/CLI.hpp>

#include "errors.hpp"

namespace billfish::cli {

Argument& Argument::required() {
  option_->required();
  return *this;
}

Argument& Argument::value_name(const std::string& name) {
  option_->type_name(name);
  return *this;
}

Argument& Argument::show_default() {
  option_->capture_default_str();
  return *this;
}

Argument& Argument::group(const std::string& heading) {
  option_->group(heading);
  return *this;
}

Argument& Argument::several() {
  option_->expected(1, -1);
  return *this;
}

Argument& Argument::within(int low, int high) {
  option_->check(CLI::Range(low, high));
  return *this;
}

Argument& Argument::positive() {
  option_->check([](const std::string& word) { return std::strtod(word.c_str(), nullptr) > 0 ? "" : word + " is not above 0"; });
  return *this;
}

Argument& Argument::not_negative() {
  option_->check([](const std::string& word) { return std::strtod(word.c_str(), nullptr) >= 0 ? "" : word + " is not 0 or more"; });
  return *this;
}

Argument& Argument::check(const std::function<std::string(const std::string& word)>& what_is_wrong) {
  option_->check(what_is_wrong);
  return *this;
}

Arguments::Arguments(const std::string& summary, const std::string& name) : app_(std::make_shared<CLI::App>(summary, name)) {}

namespace {

// CLI11 takes 010 for eight and the largest integer for any beyond it. What is no number at all it refuses itself.
template <typename T>
std::string what_is_wrong_with_integer(const std::string& word) {
  const bool has_sign = !word.empty() && (word[0] == '-' || word[0] == '+');
  const std::string digits = word.substr(has_sign ? 1 : 0);
  if (digits.empty() || digits.find_first_not_of("0123456789") != std::string::npos) return "";
  if (digits.size() > 1 && digits[0] == '0') return word + " begins with a zero: numbers are decimal";
  errno = 0;
  if (std::is_signed_v<T> || word[0] == '-') {
    (void)std::strtoll(word.c_str(), nullptr, 10);
  } else {
    (void)std::strtoull(word.c_str(), nullptr, 10);
  }
  return errno == ERANGE ? word + " is beyond 64 bits" : "";
}

}  // namespace

template <typename T>
requires kIsOptionValue<T> Argument Arguments::add_option(const std::string& names, T& target, const std::string& help) {
  CLI::Option* const option = app_->add_option(names, target, help);
  if constexpr (std::is_integral_v<T>) option->check(what_is_wrong_with_integer<T>);
  return Argument(option);
}
template Argument Arguments::add_option(const std::string&, std::string&, const std::string&);
template Argument Arguments::add_option(const std::string&, std::vector<std::string>&, const std::string&);
template Argument Arguments::add_option(const std::string&, int&, const std::string&);
template Argument Arguments::add_option(const std::string&, std::int64_t&, const std::string&);
template Argument Arguments::add_option(const std::string&, std::uint64_t&, const std::string&);
template Argument Arguments::add_option(const std::string&, double&, const std::string&);
template Argument Arguments::add_option(const std::string&, std::optional<double>&, const std::string&);

void Arguments::add_flag(const std::string& name, bool& target, const std::string& help) { app_->add_flag(name, target, help); }

void Arguments::add_version_flag(const std::string& name, const std::string& version) { app_->set_version_flag(name, version); }

Arguments Arguments::add_command(const std::string& name, const std::string& summary) {
  app_->require_subcommand(1);
  return Arguments(std::shared_ptr<CLI::App>(app_, app_->add_subcommand(name, summary)));
}

void Arguments::footer(const std::string& text) { app_->footer(text); }

std::string Arguments::group_of(const std::string& option) const {
  const CLI::Option* found = app_->get_option_no_throw(option);
  return found != nullptr ? found->get_group() : "";
}

std::optional<int> Arguments::parse(const std::vector<std::string>& words) {
  std::vector<std::string> reversed(words.rbegin(), words.rend());  // the order that CLI11 wants
  try {
    app_->parse(reversed);
  } catch (const CLI::Success& asked) {  // --help, --version
    return app_->exit(asked);
  } catch (const CLI::RequiredError& error) {
    // A word that nobody knows is often the missing one, misspelled.
    const std::vector<std::string> unknown = app_->remaining(true);
    if (!unknown.empty()) throw Failure(kUsage, CLI::ExtrasError(unknown).what());
    throw Failure(kUsage, error.what());
  } catch (const CLI::ParseError& error) {
    throw Failure(kUsage, error.what());
  }
  return std::nullopt;
}

std::string Arguments::chosen_command() const { return app_->get_subcommands().front()->get_name(); }

}  // namespace billfish::cli
