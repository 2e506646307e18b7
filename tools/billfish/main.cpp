// SPDX-License-Identifier: Apache-2.0
// `billfish`: finds the command, parses its options, runs it, and turns whatever stops it into one line and an exit code.
#include <fcntl.h>

#include <cerrno>
#include <cstdio>
#include <map>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include "arguments.hpp"
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

// A full disk behind stdout is an error; a reader that went away (`| head`) is not.
int report_output(int reason) {
  std::clearerr(stdout);
  if (reason == EPIPE) return kOk;
  errno = reason;
  return report("billfish", "could not write to standard output: " + (reason != 0 ? system_error() : "is its disk full?"), kBadInput);
}

int run(const std::vector<std::string>& arguments) {
  Arguments tool("Multiply by weights stored in 4 or 8 bits: read checkpoints, pack them into Marlin bytes, check and measure them.",
                 "billfish");
  tool.footer(
      "Example:\n  billfish inspect my-model\n  billfish pack my-model my-model-packed\n  billfish verify my-model-packed --against "
      "my-model\n\nExit codes: 0 done, 1 a check failed, 2 wrong usage, 3 bad input, 4 unsupported, 5 no device, a device that fails, or "
      "no memory, 130 interrupted");
  tool.add_version_flag("--version", billfish_version_string());
  std::map<std::string, Runner> runners;
  std::string names;
  std::vector<std::string> joined = arguments;
  for (const Command& command : commands()) {
    Arguments own = tool.add_command(command.name, command.summary);
    runners[command.name] = command.add(own);
    if (!arguments.empty() && arguments[0] == command.name) joined = join_lists(own, arguments);
    names += (names.empty() ? "" : ", ") + std::string(command.name);
  }
  std::string who = "billfish";
  if (!arguments.empty() && !arguments[0].starts_with("-")) {
    if (!runners.contains(arguments[0])) return report(who, fmt::format("no command '{}': use one of {}", arguments[0], names), kUsage);
    who += " " + arguments[0];
  } else if (arguments.empty()) {
    return report(who, fmt::format("which command? use one of {} (see billfish --help)", names), kUsage);
  }
  try {
    if (const std::optional<int> answered = tool.parse(joined)) return *answered;
  } catch (const Failure& wrong) {
    return report(who, fmt::format("{} (see {} --help)", wrong.what(), who), wrong.code());
  }
  try {
    return runners.at(tool.chosen_command())();
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

// What the library has to say that people should know: that the file of BILLFISH_PLANS is passed over, and why.
void say_warnings(void*, billfish_log_level level, const char* message) {
  if (level == BILLFISH_LOG_WARNING) say(fmt::format("billfish: {}\n", one_line(message)));
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
  billfish_set_log(billfish::cli::say_warnings, nullptr);
  return billfish::cli::flushed(billfish::cli::run({argv + 1, argv + argc}));
}
