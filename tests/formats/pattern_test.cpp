// SPDX-License-Identifier: Apache-2.0
// The matcher agrees with what people mean by regular expressions, refuses what it does not know, and is not slowed down by hostile ones.
#include "formats/pattern.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <random>
#include <regex>

namespace billfish::formats {
namespace {

bool found(const std::string& expression, const std::string& text) {
  const Result<Pattern> pattern = Pattern::compile(expression);
  EXPECT_TRUE(pattern.ok()) << pattern.status().message();
  return pattern.ok() && pattern->search(text);
}

TEST(Pattern, FindsWhatPeopleMean) {
  EXPECT_TRUE(found("up_proj", "model.layers.0.mlp.up_proj"));
  EXPECT_TRUE(found(R"(^model\.layers\.(0|1)\.)", "model.layers.1.mlp.up_proj"));
  EXPECT_FALSE(found(R"(^model\.layers\.(0|1)\.)", "model.layers.11.mlp.up_proj"));
  EXPECT_TRUE(found(R"(layers\.\d+\.mlp)", "model.layers.123.mlp.x"));
  EXPECT_TRUE(found(".*down.*", "a.down.b"));
  EXPECT_TRUE(found("", ""));
  EXPECT_TRUE(found("^$", ""));
  EXPECT_FALSE(found("^$", "x"));
  EXPECT_TRUE(found("(a|b|)c$", "xxc"));
  EXPECT_TRUE(found("[^.]+$", "a.b"));
  EXPECT_FALSE(found("^[a-c]{2,3}$", "abca"));
  EXPECT_TRUE(found("^[a-c]{2,3}$", "abc"));
  EXPECT_TRUE(found("^(ab){2}$", "abab"));
  EXPECT_TRUE(found("^a{0}b$", "b"));
  EXPECT_TRUE(found("^[]x-]+$", "]x-"));
  EXPECT_TRUE(found("^(?:a|b)*?c$", "abbac"));
  EXPECT_TRUE(found("^()*a$", "a"));
  EXPECT_TRUE(found("^(a*)*b$", "aaab"));
  EXPECT_TRUE(found(R"(^\w+\.\s$)", "ab_9. "));
}

TEST(Pattern, AnchorsAsAsked) {
  const Result<Pattern> pattern = Pattern::compile("b+");
  ASSERT_TRUE(pattern.ok());
  EXPECT_TRUE(pattern->search("abb"));
  EXPECT_FALSE(pattern->starts("abb"));
  EXPECT_TRUE(pattern->starts("bba"));
  EXPECT_FALSE(pattern->whole("bba"));
  EXPECT_TRUE(pattern->whole("bbb"));
}

TEST(Pattern, RefusesWhatItDoesNotKnowAndSaysWhere) {
  const std::pair<const char*, const char*> cases[] = {{"a(b", "a '(' is never closed"},
                                                       {"a)b", "position 2: unexpected ')'"},
                                                       {"*a", "there is nothing to repeat"},
                                                       {"a**", "there is nothing to repeat"},
                                                       {"^*", "there is nothing to repeat"},
                                                       {"[abc", "'[' is never closed"},
                                                       {"[a\\", "'[' is never closed"},
                                                       {"[\\q]", "the escape '\\q' is not supported"},
                                                       {"(((a{99}){99}){99}){99}", "the expression is too large"},
                                                       {"[c-a]", "ends before it begins"},
                                                       {"a\\", "'\\' at the end"},
                                                       {"\\b", "the escape '\\b' is not supported"},
                                                       {"(?=x)", "is not supported"},
                                                       {"(?!x)", "is not supported"},
                                                       {"\\1", "the escape '\\1' is not supported"},
                                                       {"a{2", "expected {m}, {m,} or {m,n}"},
                                                       {"a{3,2}", "n below m"},
                                                       {"a{1001}", "at most 1000 repetitions"},
                                                       {"a{}", "expected {m}"},
                                                       {"((a{1000}){1000}){1000}", "too large"}};
  for (const auto& [expression, words] : cases) {
    const Result<Pattern> pattern = Pattern::compile(expression);
    ASSERT_FALSE(pattern.ok()) << expression;
    EXPECT_EQ(pattern.status().code(), Code::invalid_argument);
    EXPECT_NE(pattern.status().message().find(words), std::string::npos) << pattern.status().message() << "\n  lacks: " << words;
  }
  EXPECT_FALSE(Pattern::compile(std::string(5000, 'a')).ok());
  EXPECT_FALSE(Pattern::compile(std::string(200, '(') + std::string(200, ')')).ok());
}

TEST(Pattern, HostileExpressionsTakeLinearTime) {
  const std::string text(100000, 'a');
  const auto begin = std::chrono::steady_clock::now();
  for (const char* expression : {"^(a+)+$", "^(a|a)*$", "(a*)*b", "^(a?){30}a{30}$", "(x+x+)+y"}) {
    const Result<Pattern> pattern = Pattern::compile(expression);
    ASSERT_TRUE(pattern.ok()) << expression;
    pattern->search(text);
  }
  // Backtracking would need longer than the universe is old; half a minute is for sanitizers on a busy machine.
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(30));
}

TEST(Pattern, AgreesWithTheStandardLibraryOnRandomExpressions) {
  std::mt19937 random(7);
  const auto pick = [&](const std::string& from) { return from[random() % from.size()]; };
  int compared = 0;
  for (int round = 0; round < 4000; ++round) {
    std::string expression;
    int open = 0;
    for (int i = 0; i < 8; ++i) {
      switch (random() % 9) {
        case 0: expression += "(", ++open; break;
        case 1:
          if (open > 0) expression += ")", --open;
          break;
        case 2: expression += "|"; break;
        case 3: expression += pick("*+?"); break;
        case 4: expression += "[ab]"; break;
        case 5: expression += "[^a]"; break;
        case 6: expression += "."; break;
        default: expression += pick("abc"); break;
      }
    }
    while (open-- > 0) expression += ")";
    const Result<Pattern> ours = Pattern::compile(expression);
    if (!ours.ok()) continue;
    std::regex theirs;
    try {
      theirs = std::regex(expression);
    } catch (const std::regex_error&) {
      continue;
    }
    for (int t = 0; t < 8; ++t) {
      std::string text;
      for (auto i = random() % 7; i > 0; --i) text += pick("abc");
      ASSERT_EQ(ours->search(text), std::regex_search(text, theirs)) << expression << " in " << text;
      ASSERT_EQ(ours->whole(text), std::regex_match(text, theirs)) << expression << " in " << text;
      ++compared;
    }
  }
  EXPECT_GT(compared, 3000);
}

}  // namespace
}  // namespace billfish::formats
