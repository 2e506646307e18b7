// SPDX-License-Identifier: Apache-2.0
// Pictures as SVG text: rectangles, lines and words, in colours that people with any colour vision tell apart. Called by show_*.cpp and
// gpu_*.cpp.
#pragma once

#include <string>

namespace billfish::cli {

// Okabe and Ito's palette, lightest first where order matters.
inline constexpr const char* kColours[] = {"#56b4e9", "#e69f00", "#009e73", "#f0e442", "#cc79a7", "#0072b2", "#d55e00", "#999999"};
inline constexpr int kColourCount = 8;

class Svg {
 public:
  Svg(double width, double height, const std::string& title);
  void rectangle(double x, double y, double width, double height, const std::string& fill, const std::string& hint = {},
                 const std::string& stroke = "#333333");
  void line(double x1, double y1, double x2, double y2, const std::string& stroke = "#333333", double width = 1);
  // anchor: start, middle, end. The baseline is at y.
  void text(double x, double y, const std::string& words, double size = 12, const std::string& anchor = "start", bool bold = false);
  std::string take();

 private:
  std::string body_;
};

// Writes `text` whole or not at all; Failure(kBadInput) if the place cannot be written, Failure(kUsage) if SVG would replace another
// kind of file. The folder must be there.
void write_picture(const std::string& path, const std::string& text);

}  // namespace billfish::cli
