// SPDX-License-Identifier: Apache-2.0
#include "svg.hpp"

#include <fmt/core.h>

#include <filesystem>
#include <fstream>
#include <string_view>
#include <system_error>

#include "errors.hpp"
#include "files.hpp"

namespace billfish::cli {
namespace {

std::string escaped(const std::string& words) {
  std::string text;
  for (const char c : words) {
    if (c == '&') {
      text += "&amp;";
    } else if (c == '<') {
      text += "&lt;";
    } else if (c == '>') {
      text += "&gt;";
    } else if (c == '"') {
      text += "&quot;";
    } else {
      text += c;
    }
  }
  return text;
}

}  // namespace

Svg::Svg(double width, double height, const std::string& title) {
  body_ = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{:.0f}\" height=\"{:.0f}\" viewBox=\"0 0 {:.0f} {:.0f}\" "
      "font-family=\"Helvetica, Arial, sans-serif\">\n<title>{}</title>\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
      width, height, width, height, escaped(title));
}

void Svg::rectangle(double x, double y, double width, double height, const std::string& fill, const std::string& hint,
                    const std::string& stroke) {
  const std::string edge = stroke.empty() ? "" : fmt::format(" stroke=\"{}\" stroke-width=\"0.6\"", stroke);
  body_ += fmt::format("<rect x=\"{:.2f}\" y=\"{:.2f}\" width=\"{:.2f}\" height=\"{:.2f}\" fill=\"{}\"{}", x, y, width, height, fill, edge);
  body_ += hint.empty() ? "/>\n" : "><title>" + escaped(hint) + "</title></rect>\n";
}

void Svg::line(double x1, double y1, double x2, double y2, const std::string& stroke, double width) {
  body_ += fmt::format("<line x1=\"{:.2f}\" y1=\"{:.2f}\" x2=\"{:.2f}\" y2=\"{:.2f}\" stroke=\"{}\" stroke-width=\"{:.2f}\"/>\n", x1, y1,
                       x2, y2, stroke, width);
}

void Svg::text(double x, double y, const std::string& words, double size, const std::string& anchor, bool bold) {
  body_ += fmt::format("<text x=\"{:.2f}\" y=\"{:.2f}\" font-size=\"{:.1f}\" text-anchor=\"{}\"{}>{}</text>\n", x, y, size, anchor,
                       bold ? " font-weight=\"bold\"" : "", escaped(words));
}

std::string Svg::take() { return std::move(body_) + "</svg>\n"; }

void write_picture(const std::string& path, const std::string& text) {
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  std::error_code error;
  if (!folder.empty() && !std::filesystem::is_directory(folder, error)) {
    fail(kBadInput, "cannot write {}: {} is no folder; make it first, or name another place", path, folder.string());
  }
  const auto is_svg = [](std::string_view words) { return words.substr(0, 1024).find("<svg") != std::string_view::npos; };
  if (is_svg(text) && std::filesystem::is_regular_file(path, error) && std::filesystem::file_size(path, error) > 0) {
    std::string there(1024, '\0');
    std::ifstream(path, std::ios::binary).read(there.data(), static_cast<std::streamsize>(there.size()));
    if (!is_svg(there)) fail(kUsage, "{} is there and is no SVG picture: name another file", path);
  }
  OutputFile file(path);
  file.write(text.data(), text.size());
  file.commit();
}

}  // namespace billfish::cli
