// SPDX-License-Identifier: Apache-2.0
// A checkpoint folder made of given tensors and opened, and what is expected of it. For the tests of recognition and of bad input.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "formats/checkpoint.hpp"
#include "formats/files.hpp"
#include "formats/generated.hpp"

namespace billfish::test {

struct Case {
  Folder folder;
  Result<std::unique_ptr<formats::Checkpoint>> opened = Status(Code::internal, "not opened");
  Case(const std::vector<TestTensor>& tensors, const std::string& quantisation, const std::string& metadata = "", int pad = 0) {
    write_file(folder / "model.safetensors", safetensors_file(tensors, metadata, pad));
    if (!quantisation.empty()) write_file(folder / "config.json", "{\"quantization_config\":" + quantisation + "}");
    opened = formats::open_checkpoint(folder.path());
  }
  const formats::LayerInfo& layer(std::size_t i = 0) {
    static const formats::LayerInfo none;
    EXPECT_TRUE(opened.ok()) << opened.status().message();
    if (!opened.ok()) return none;
    EXPECT_GT((*opened)->layers().size(), i);
    return (*opened)->layers().size() > i ? (*opened)->layers()[i] : none;
  }
};

inline void expect_bad(const Case& made, const std::string& words) {
  ASSERT_FALSE(made.opened.ok()) << words;
  EXPECT_EQ(made.opened.status().code(), Code::bad_input);
  EXPECT_NE(made.opened.status().message().find(words), std::string::npos) << made.opened.status().message() << "\n  lacks: " << words;
}

inline void expect_unsupported(Case& made, const std::string& words) {
  const formats::LayerInfo& layer = made.layer();
  EXPECT_FALSE(layer.supported);
  EXPECT_NE(layer.reason.find(words), std::string::npos) << layer.reason << "\n  lacks: " << words;
  if (!made.opened.ok()) return;
  EXPECT_EQ((*made.opened)->load(0).status().code(), Code::unsupported);
}

inline const std::string kGptq4 = R"({"quant_method":"gptq","bits":4,"group_size":32,"sym":true})";

inline std::vector<TestTensor> gptq(const PlainOptions& options = {}, std::int64_t k = 128, std::int64_t n = 64, std::int64_t group = 32) {
  return gptq_tensors(random_plain(k, n, group, options, 9), "m", true, true);
}

inline std::vector<TestTensor> without(std::vector<TestTensor> tensors, const std::string& name) {
  std::erase_if(tensors, [&](const TestTensor& t) { return t.name == name; });
  return tensors;
}

inline void expect_refused(const Status& status, Code code, const std::string& words) {
  EXPECT_EQ(status.code(), code) << status.message();
  EXPECT_NE(status.message().find(words), std::string::npos) << status.message() << "\n  lacks: " << words;
}

}  // namespace billfish::test
