// SPDX-License-Identifier: Apache-2.0
// Runs gnuplot as a child process on a script, once for SVG and once for PNG. Called by plot.cpp.
#pragma once

#include <string>

namespace billfish::cli {

struct PictureSize {
  int width = 1000, height = 640;
};

// Draws `script` (everything but terminal and output; <SMALL> stands for the size of small print) into <folder>/<name>.svg and .png.
// Failure(kUnsupported) where there is no gnuplot, with its own words where it does not like the script.
void draw_with_gnuplot(const std::string& script, const std::string& folder, const std::string& name, PictureSize size);

// A single-quoted gnuplot string: in it nothing is executed or replaced. Characters that are not printable ASCII are dropped.
std::string gnuplot_text(const std::string& words);

}  // namespace billfish::cli
