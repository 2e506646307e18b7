// SPDX-License-Identifier: Apache-2.0
// `billfish`: finds the command, parses its options, runs it, and turns whatever stops it into one line and an exit code.
#include <fcntl.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <map>
#include <new>
#include <stdexcept>
#include <system_error>

#include "billfish/billfish.hpp"
#include "commands.hpp"
#include "errors.hpp"
#include "interrupt.hpp"
#include "lists.hpp"

namespace billfish::cli {
namespace {

int report(const std::string& who, const std::string& message, int code) {
  std::fflush(stdout);
  say(fmt::format("{}: {}\n", who, one_line(message)));
  return code;
}

// CLI11's words for a wrong command line, with the way to the right one.
int report_usage(const std::string& who, const CLI::ParseError& error) {
  return report(who, fmt::format("{} (see {} --help)", error.what(), who), kUsage);
}

// A full disk behind stdout is an error; a reader that went away (`| head`) is not.
int report_output(int reason) {
  std::clearerr(stdout);
  if (reason == EPIPE) return kOk;
  errno = reason;
  return report("billfish", "could not write to standard output: " + (reason != 0 ? system_error() : "is its disk full?"), kBadInput);
}

int run(const std::vector<std::string>& arguments) {
  CLI::App app("Multiply by weights stored in 4 or 8 bits: read checkpoints, pack them into Marlin bytes, check and measure them.",
               "billfish");
  app.footer(
      "Example:\n  billfish inspect my-model\n  billfish pack my-model my-model-packed\n  billfish verify my-model-packed --against "
      "my-model");
  app.set_version_flag("--version", billfish_version_string());
  app.require_subcommand(1);
  std::map<std::string, Runner> runners;
  std::string names;
  for (const Command& command : commands()) {
    CLI::App& sub = *app.add_subcommand(command.name, command.summary);
    runners[command.name] = command.add(sub);
    names += (names.empty() ? "" : ", ") + std::string(command.name);
  }
  std::vector<std::string> joined = arguments;
  std::string who = "billfish";
  if (!arguments.empty() && !arguments[0].starts_with("-")) {
    if (!runners.contains(arguments[0])) return report(who, fmt::format("no command '{}': use one of {}", arguments[0], names), kUsage);
    who += " " + arguments[0];
    joined = join_lists(*app.get_subcommand(arguments[0]), arguments);
  } else if (arguments.empty()) {
    return report(who, fmt::format("which command? use one of {} (see billfish --help)", names), kUsage);
  }
  try {
    std::vector<std::string> reversed(joined.rbegin(), joined.rend());  // the order that CLI11 wants
    app.parse(reversed);
  } catch (const CLI::Success& asked) {  // --help, --version
    return app.exit(asked);
  } catch (const CLI::ParseError& error) {
    return report_usage(who, error);
  }
  try {
    return runners.at(app.get_subcommands().front()->get_name())();
  } catch (const Failure& failure) {
    return report(who, failure.what(), failure.code());
  } catch (const Error& refused) {
    return report(who, refused.what(), exit_of(refused.status()));
  } catch (const std::bad_alloc&) {
    return report(who, "out of memory: free some, or use a machine with more", kDevice);
  } catch (const std::length_error&) {  // more elements than a vector can ever have
    return report(who, "out of memory: the sizes asked for are too large for any machine", kDevice);
  } catch (const std::system_error& error) {  // of fmt::print, where a buffer's worth could not be written
    if (std::ferror(stdout) != 0) return report_output(error.code().value());
    return report(who, fmt::format("a defect of billfish, please report it: {}", error.what()), kDefect);
  } catch (const std::exception& error) {
    return report(who, fmt::format("a defect of billfish, please report it: {}", error.what()), kDefect);
  }
}

int flushed(int code) {
  errno = 0;
  const bool failed = std::ferror(stdout) != 0;
  if ((std::fflush(stdout) == 0 && !failed) || code != kOk) return code;
  return report_output(errno);
}

// A caller may have closed any of the three: the next file opened would take its number, and messages would end up in it.
void hold_standard_streams() {
  for (int stream = 0; stream <= 2; ++stream) {
    if (fcntl(stream, F_GETFD) != -1) continue;
    (void)open("/dev/null", stream == 2 ? O_WRONLY : O_RDONLY);  // writing to stdout stays an error; this takes the lowest free number
  }
}

}  // namespace
}  // namespace billfish::cli

int main(int argc, char** argv) {
  billfish::cli::hold_standard_streams();
  billfish::cli::start_interrupt_watch();
  return billfish::cli::flushed(billfish::cli::run({argv + 1, argv + argc}));
}
