// SPDX-License-Identifier: Apache-2.0
#include "gnuplot.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "errors.hpp"
#include "files.hpp"
#include "svg.hpp"

extern char** environ;  // NOLINT: POSIX's name

namespace billfish::cli {
namespace {

constexpr const char* kSmallFont = "<SMALL>";

// Its exit code; what it says on stderr goes to `errors`.
int run_gnuplot(const std::string& script, const std::string& errors) {
  const char* chosen = std::getenv("BILLFISH_GNUPLOT");
  std::string program = chosen != nullptr ? chosen : "gnuplot", argument = script;
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attributes);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, errors.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  sigset_t none, usual;
  sigemptyset(&none);
  sigemptyset(&usual);
  sigaddset(&usual, SIGPIPE);
  posix_spawnattr_setsigmask(&attributes, &none);  // this process waits for its signals in a thread; the child should not
  posix_spawnattr_setsigdefault(&attributes, &usual);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  char* arguments[] = {program.data(), argument.data(), nullptr};
  pid_t child = 0;
  const int error = posix_spawnp(&child, program.c_str(), &actions, &attributes, arguments, environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (error == ENOENT) {
    fail(kUnsupported, "{} is not installed here: plotting needs the package gnuplot-nox (./dev setup installs it)", program);
  }
  if (error != 0) fail(kDevice, "cannot run {}: {}", program, std::strerror(error));
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) fail(kDevice, "cannot wait for {}: {}", program, system_error());
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

std::string text_of_file(const std::string& path) {
  const std::vector<std::byte> bytes = read_file(path);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

std::string gnuplot_text(const std::string& words) {
  std::string text = "'";
  for (const char c : words) {
    if (c == '\'') text += '\'';
    if (c >= ' ' && c <= '~') text += c;
  }
  return text + "'";
}

void draw_with_gnuplot(const std::string& script, const std::string& folder, const std::string& name, PictureSize size) {
  const TemporaryFolder temporary;
  const auto draw = [&](const std::string& terminal, const std::string& suffix, const std::string& small) {
    std::string sized = script;
    for (std::size_t at = sized.find(kSmallFont); at != std::string::npos; at = sized.find(kSmallFont)) {
      sized.replace(at, std::strlen(kSmallFont), small);
    }
    const std::string output = temporary.path() + "/out." + suffix, path = temporary.path() + "/script";
    const std::string text =
        fmt::format("set encoding utf8\nset terminal {}\nset output {}\n{}\nunset output\n", terminal, gnuplot_text(output), sized);
    OutputFile file(path);
    file.write(text.data(), text.size());
    file.commit();
    const int code = run_gnuplot(path, temporary.path() + "/errors");
    if (code != 0) {
      const std::string said = text_of_file(temporary.path() + "/errors");  // the reason stands at its end, after the line at fault
      fail(kDefect, "gnuplot ended with {} on {}: {}", code, name,
           one_line(said.substr(said.size() - std::min<std::size_t>(400, said.size()))));
    }
    make_folder(folder);
    write_picture(folder + "/" + name + "." + suffix, text_of_file(output));
  };
  draw(fmt::format("svg size {},{} dynamic noenhanced font 'Helvetica,16' background 'white'", size.width, size.height), "svg", "13");
  draw(fmt::format("pngcairo size {},{} noenhanced font 'Helvetica,24' background 'white' fontscale 1 linewidth 1.5", size.width * 8 / 5,
                   size.height * 8 / 5),
       "png", "19");
}

}  // namespace billfish::cli
