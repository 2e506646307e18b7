// SPDX-License-Identifier: Apache-2.0
// Expression -> program by one pass with a stack of open groups; program -> answer by stepping all of its states over the text.
#include "formats/pattern.hpp"

#include <algorithm>

#include "formats/text.hpp"

namespace billfish::formats {
namespace {

using Op = Pattern::Op;
using Instruction = Pattern::Instruction;
using Bytes = std::bitset<256>;

constexpr std::size_t kLongestExpression = 4096;
constexpr std::size_t kLargestProgram = 20000;
constexpr std::size_t kDeepestGroup = 100;
constexpr int kLargestRepeat = 1000;

Bytes range(int first, int last) {
  Bytes out;
  for (int b = first; b <= last; ++b) out.set(static_cast<std::size_t>(b));
  return out;
}

// The set behind \d, \w, \s, their complements, control characters and escaped punctuation; empty if there is no such escape.
Bytes escaped(char c) {
  const Bytes digits = range('0', '9');
  const Bytes word = digits | range('a', 'z') | range('A', 'Z') | range('_', '_');
  const Bytes space = range('\t', '\r') | range(' ', ' ');
  switch (c) {
    case 'd': return digits;
    case 'D': return ~digits;
    case 'w': return word;
    case 'W': return ~word;
    case 's': return space;
    case 'S': return ~space;
    case 't': return range('\t', '\t');
    case 'n': return range('\n', '\n');
    case 'r': return range('\r', '\r');
    default: break;
  }
  const int byte = static_cast<unsigned char>(c);
  const bool letter_or_digit = word.test(static_cast<std::size_t>(byte)) && c != '_';
  return letter_or_digit || byte >= 0x80 ? Bytes() : range(byte, byte);
}

// Jumps are relative, so a piece of program may be moved, wrapped and copied as long as it is moved whole.
class Compiler {
 public:
  explicit Compiler(std::string_view expression) : text_(expression) {}

  Status compile(std::vector<Instruction>& program, std::vector<Bytes>& sets) {
    if (text_.size() > kLongestExpression) {
      return invalid_argument(formats::text("the expression has ", text_.size(), " bytes; at most ", kLongestExpression, " are supported"));
    }
    groups_.push_back({});
    while (error_.empty() && at_ < text_.size()) step();
    if (error_.empty() && groups_.size() > 1) fail("a '(' is never closed");
    if (error_.empty()) close_alternatives(groups_.back());
    if (!error_.empty()) return invalid_argument(formats::text("expression ", quote(text_), ", position ", at_, ": ", error_));
    program_.push_back({Op::accept, 0, 0});
    program = std::move(program_);
    sets = std::move(sets_);
    return {};
  }

 private:
  struct Group {
    std::size_t begin = 0;          // of the group's program
    std::size_t alternative = 0;    // begin of the alternative being read
    std::vector<std::size_t> ends;  // jumps at the ends of earlier alternatives, to be aimed at the group's end
  };

  void fail(std::string message) { error_ = std::move(message); }
  bool emit(Instruction instruction) {
    if (program_.size() >= kLargestProgram) {
      fail("the expression is too large");
      return false;
    }
    program_.push_back(instruction);
    return true;
  }
  void emit_set(const Bytes& set) {
    atom_ = program_.size();
    has_atom_ = true;
    std::size_t index = 0;
    while (index < sets_.size() && sets_[index] != set) ++index;
    if (index == sets_.size()) sets_.push_back(set);
    emit({Op::bytes, 0, static_cast<std::uint32_t>(index)});
  }
  void emit_assertion(Op op) {
    has_atom_ = false;
    emit({op, 0, 0});
  }

  void step() {
    const char c = text_[at_++];
    switch (c) {
      case '(': return open_group();
      case ')': return close_group();
      case '|': return next_alternative();
      case '[': return read_set();
      case '.': return emit_set(~Bytes());
      case '^': return emit_assertion(Op::text_begin);
      case '$': return emit_assertion(Op::text_end);
      case '*': return repeat(0, -1);
      case '+': return repeat(1, -1);
      case '?': return repeat(0, 1);
      case '{': return read_counts();
      case '\\': return read_escape();
      default: return emit_set(range(static_cast<unsigned char>(c), static_cast<unsigned char>(c)));
    }
  }

  void open_group() {
    if (groups_.size() > kDeepestGroup) return fail("groups nest too deep");
    if (at_ < text_.size() && text_[at_] == '?') {
      if (at_ + 1 >= text_.size() || text_[at_ + 1] != ':') return fail("'(?' other than '(?:' is not supported");
      at_ += 2;
    }
    groups_.push_back({program_.size(), program_.size(), {}});
    has_atom_ = false;
  }
  void close_group() {
    if (groups_.size() == 1) return fail("unexpected ')'");
    close_alternatives(groups_.back());
    atom_ = groups_.back().begin;
    has_atom_ = true;
    groups_.pop_back();
  }
  void next_alternative() {
    Group& group = groups_.back();
    // split L1, L2;  L1: this alternative; jump end;  L2: the next one
    const std::int32_t length = static_cast<std::int32_t>(program_.size() - group.alternative);
    program_.insert(program_.begin() + static_cast<std::ptrdiff_t>(group.alternative), Instruction{Op::split, length + 2, 0});
    group.ends.push_back(program_.size());
    emit({Op::jump, 0, 0});
    group.alternative = program_.size();
    has_atom_ = false;
  }
  void close_alternatives(Group& group) {
    for (const std::size_t end : group.ends) program_[end].to = static_cast<std::int32_t>(program_.size() - end);
    group.ends.clear();
  }

  // The last atom at least `least` times and at most `most` (-1: any number).
  void repeat(int least, int most) {
    if (!has_atom_) return fail("there is nothing to repeat");
    if (at_ < text_.size() && text_[at_] == '?') ++at_;  // lazy: which of several matches is found does not matter here
    const std::vector<Instruction> piece(program_.begin() + static_cast<std::ptrdiff_t>(atom_), program_.end());
    const std::int32_t length = static_cast<std::int32_t>(piece.size());
    program_.resize(atom_);
    const auto append = [&] {
      if (program_.size() + piece.size() > kLargestProgram) {
        fail("the expression is too large");
        return false;
      }
      program_.insert(program_.end(), piece.begin(), piece.end());
      return true;
    };
    for (int i = 0; i < least; ++i) {
      if (!append()) return;
    }
    if (most < 0) {  // L: split past; piece; jump L
      if (!emit({Op::split, length + 2, 0}) || !append()) return;
      emit({Op::jump, -(length + 1), 0});
    }
    for (int i = least; i < most; ++i) {
      if (!emit({Op::split, length + 1, 0}) || !append()) return;
    }
    has_atom_ = false;  // a** and the like are refused
  }

  void read_counts() {
    int counts[2] = {0, -1};
    int read = 0;
    bool digits = false;
    for (; at_ < text_.size() && text_[at_] != '}'; ++at_) {
      if (text_[at_] == ',' && read == 0 && digits) {
        read = 1;
        digits = false;
        continue;
      }
      if (text_[at_] < '0' || text_[at_] > '9') return fail("expected {m}, {m,} or {m,n}");
      counts[read] = (digits ? counts[read] * 10 : 0) + (text_[at_] - '0');
      digits = true;
      if (counts[read] > kLargestRepeat) return fail(formats::text("at most ", kLargestRepeat, " repetitions are supported"));
    }
    if (at_ == text_.size() || (read == 0 && !digits)) return fail("expected {m}, {m,} or {m,n}");
    ++at_;
    if (read == 0) counts[1] = counts[0];
    if (counts[1] >= 0 && counts[1] < counts[0]) return fail("{m,n} with n below m");
    repeat(counts[0], counts[1]);
  }

  void read_escape() {
    if (at_ == text_.size()) return fail("'\\' at the end");
    const Bytes set = escaped(text_[at_]);
    if (set.none()) return fail(formats::text("the escape '\\", text_[at_], "' is not supported"));
    ++at_;
    emit_set(set);
  }

  // One member of [...]: its set, and its byte if it is a single one (else -1).
  int read_member(Bytes& set) {
    char c = text_[at_++];
    set = range(static_cast<unsigned char>(c), static_cast<unsigned char>(c));
    if (c == '\\') {
      if (at_ == text_.size()) {
        fail("'[' is never closed");
        return -1;
      }
      c = text_[at_++];
      set = escaped(c);
      if (set.none()) fail(formats::text("the escape '\\", c, "' is not supported"));
    }
    if (set.count() != 1) return -1;
    int byte = 0;
    while (!set.test(static_cast<std::size_t>(byte))) ++byte;
    return byte;
  }
  void read_set() {
    const bool negated = at_ < text_.size() && text_[at_] == '^';
    if (negated) ++at_;
    Bytes all;
    for (bool first = true; at_ < text_.size() && (first || text_[at_] != ']'); first = false) {
      Bytes set;
      const int low = read_member(set);
      if (!error_.empty()) return;
      if (low >= 0 && at_ + 1 < text_.size() && text_[at_] == '-' && text_[at_ + 1] != ']') {
        ++at_;
        const int high = read_member(set);
        if (!error_.empty()) return;
        if (high < low) return fail("a range in [] that ends before it begins");
        set = range(low, high);
      }
      all |= set;
    }
    if (at_ == text_.size()) return fail("'[' is never closed");
    ++at_;
    emit_set(negated ? ~all : all);
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::string error_;
  std::vector<Instruction> program_;
  std::vector<Bytes> sets_;
  std::vector<Group> groups_;
  std::size_t atom_ = 0;  // where the last repeatable piece begins
  bool has_atom_ = false;
};

// A set of program counters with constant-time insert and clear.
class States {
 public:
  explicit States(std::size_t capacity) : position_(capacity), list_(capacity) {}
  bool insert(std::uint32_t state) {
    if (position_[state] < size_ && list_[position_[state]] == state) return false;
    position_[state] = size_;
    list_[size_++] = state;
    return true;
  }
  void clear() { size_ = 0; }
  std::uint32_t size() const { return size_; }
  std::uint32_t operator[](std::uint32_t i) const { return list_[i]; }

 private:
  std::vector<std::uint32_t> position_, list_;
  std::uint32_t size_ = 0;
};

}  // namespace

Result<Pattern> Pattern::compile(std::string_view expression) {
  Pattern out;
  BILLFISH_RETURN_IF_ERROR(Compiler(expression).compile(out.program_, out.sets_));
  return Result<Pattern>(std::move(out));
}

bool Pattern::run(std::string_view text, bool from_start, bool to_end) const {
  States now(program_.size()), next(program_.size());
  std::vector<std::uint32_t> pending;  // an explicit stack: jumps are followed without recursion
  bool accepted = false;
  const auto follow = [&](States& states, std::uint32_t first, std::size_t at) {
    pending.push_back(first);
    while (!pending.empty()) {
      const std::uint32_t state = pending.back();
      pending.pop_back();
      if (!states.insert(state)) continue;
      const Instruction& instruction = program_[state];
      switch (instruction.op) {
        case Op::jump: pending.push_back(state + static_cast<std::uint32_t>(instruction.to)); break;
        case Op::split:
          pending.push_back(state + static_cast<std::uint32_t>(instruction.to));
          pending.push_back(state + 1);
          break;
        case Op::text_begin:
          if (at == 0) pending.push_back(state + 1);
          break;
        case Op::text_end:
          if (at == text.size()) pending.push_back(state + 1);
          break;
        case Op::accept: accepted = accepted || !to_end || at == text.size(); break;
        case Op::bytes: break;
      }
    }
  };
  for (std::size_t at = 0; !accepted; ++at) {
    if (at == 0 || !from_start) follow(now, 0, at);
    if (accepted || at == text.size()) break;
    const std::size_t byte = static_cast<unsigned char>(text[at]);
    next.clear();
    for (std::uint32_t i = 0; i < now.size(); ++i) {
      const Instruction& instruction = program_[now[i]];
      if (instruction.op == Op::bytes && sets_[instruction.set].test(byte)) follow(next, now[i] + 1, at + 1);
    }
    std::swap(now, next);
    if (now.size() == 0 && from_start) break;
  }
  return accepted;
}

}  // namespace billfish::formats
