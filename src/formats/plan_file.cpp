// SPDX-License-Identifier: Apache-2.0
// See plan_file.hpp. Members that are not known are dropped while they are parsed: the times of all candidates, most of such a file, never
// become objects in memory.
#include "formats/plan_file.hpp"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/matrix.hpp"
#include "formats/json_text.hpp"
#include "formats/mapped_file.hpp"
#include "formats/text.hpp"

namespace billfish::formats {
namespace {

using Json = nlohmann::json;

constexpr std::int64_t kLargestFile = std::int64_t{32} << 20;
constexpr std::size_t kMostPlans = 100'000;
constexpr std::size_t kLongestName = 64;
constexpr std::int64_t kLargest = std::int64_t{1} << 40;  // of sizes: as for problems
constexpr int kSchema = 1;

constexpr const char* kKnown[] = {"schema",
                                  "device",
                                  "kind",
                                  "architecture",
                                  "multiprocessors",
                                  "plans",
                                  "type",
                                  "act",
                                  "n",
                                  "k",
                                  "group",
                                  "m_from",
                                  "m_to",
                                  "plan",
                                  "zeroed_workspace",
                                  "dependent_launch",
                                  "policy",
                                  "tile_m",
                                  "tile_n",
                                  "splits",
                                  "cluster",
                                  "threads",
                                  "blocks",
                                  "detail",
                                  "implementation"};

// Members of one object, each of which must be there. The first that is not, or is wrong, is remembered.
class Members {
 public:
  // Members are called where + between + their name.
  Members(std::string where, std::string_view between, const Json* object) : where_(std::move(where)), between_(between), object_(object) {
    if (object_ == nullptr || !object_->is_object()) error_ = text(where_, " is not an object");
  }

  std::int64_t number(const char* name, std::int64_t low, std::int64_t high) {
    const Json* value = find(name);
    if (value == nullptr) return 0;
    return number_of(*value, name, low, high);
  }
  bool truth(const char* name) {
    const Json* value = find(name);
    if (value != nullptr && !value->is_boolean()) wrong(*value, name, "true or false");
    return value != nullptr && value->is_boolean() && value->get<bool>();
  }
  std::string name(const char* member) {
    const Json* value = find(member);
    if (value == nullptr) return {};
    if (!value->is_string() || value->get_ref<const std::string&>().size() > kLongestName) {
      wrong(*value, member, text("a name of at most ", kLongestName, " characters"));
      return {};
    }
    return value->get<std::string>();
  }
  // The index of a word in a list of them.
  template <std::size_t count>
  std::size_t word(const char* member, const std::string_view (&words)[count]) {
    const std::string found = name(member);
    std::string known;
    for (std::size_t i = 0; i < count; ++i) {
      if (words[i] == found) return i;
      known += (known.empty() ? "" : ", ") + std::string(words[i]);
    }
    if (error_.empty()) error_ = text(where_, between_, member, " is ", quote(found), "; known are ", known);
    return 0;
  }
  template <std::size_t count>
  std::array<std::int64_t, count> numbers(const char* member) {
    std::array<std::int64_t, count> out = {};
    const Json* value = find(member);
    if (value == nullptr) return out;
    if (!value->is_array() || value->size() != count) {
      wrong(*value, member, text("a list of ", count, " whole numbers"));
      return out;
    }
    for (std::size_t i = 0; i < count; ++i) out[i] = number_of((*value)[i], text(member, "[", i, "]"), 0, kLargest);
    return out;
  }
  const Json* find(const char* name) {
    if (!error_.empty()) return nullptr;
    const auto found = object_->find(name);
    if (found != object_->end()) return &*found;
    error_ = text(where_, between_, name, " is missing");
    return nullptr;
  }
  const std::string& where() const { return where_; }
  const std::string& error() const { return error_; }

 private:
  std::int64_t number_of(const Json& value, std::string_view name, std::int64_t low, std::int64_t high) {
    const bool whole = value.is_number_integer() && (!value.is_number_unsigned() || value.get<std::uint64_t>() <= std::uint64_t{1} << 62);
    if (whole && value.get<std::int64_t>() >= low && value.get<std::int64_t>() <= high) return value.get<std::int64_t>();
    wrong(value, name, text("a whole number from ", low, " to ", high));
    return low;
  }
  void wrong(const Json& value, std::string_view name, std::string_view expected) {
    if (!error_.empty()) return;
    const std::string shown = value.dump(-1, ' ', true, Json::error_handler_t::replace);
    error_ = text(where_, between_, name, " is ", printable(shown, 60), ", but must be ", expected);
  }
  std::string where_;
  std::string_view between_;
  const Json* object_;
  std::string error_;
};

constexpr std::string_view kWeights[] = {name_of(WeightType::u4b8), name_of(WeightType::u4), name_of(WeightType::u8b128),
                                         name_of(WeightType::u8)};
constexpr std::string_view kElements[] = {name_of(ElementType::f32), name_of(ElementType::f16), name_of(ElementType::bf16)};
constexpr std::string_view kKinds[] = {name_of(DeviceKind::cpu), name_of(DeviceKind::cuda)};

Status read_plan(std::string where, const Json& json, FilePlan& out) {
  Members entry(std::move(where), ".", &json);
  out.weight = static_cast<WeightType>(entry.word("type", kWeights));
  out.a = static_cast<ElementType>(entry.word("act", kElements));
  out.n = entry.number("n", 1, kLargest);
  out.k = entry.number("k", 1, kLargest);
  const std::int64_t group = entry.number("group", -1, kLargest);
  out.group = resolve_group(group, out.k);
  out.zeroed_workspace = entry.truth("zeroed_workspace");
  out.dependent_launch = entry.truth("dependent_launch");
  out.m_from = entry.number("m_from", 1, kLargest);
  out.m_to = entry.number("m_to", 1, kLargest);
  const Json* plan = entry.find("plan");
  if (!entry.error().empty()) return bad_input(entry.error());
  out.where = entry.where();
  if (group == 0) return bad_input(text(out.where, ".group is 0, but must be -1 (all of k) or a positive number"));
  if (out.m_from > out.m_to) return bad_input(text(out.where, ".m_from is ", out.m_from, ", more than m_to, which is ", out.m_to));
  Members choice(text(out.where, ".plan"), ".", plan);
  out.implementation = choice.name("implementation");
  out.policy = choice.name("policy");
  out.tile_m = choice.number("tile_m", 0, kLargest);
  out.tile_n = choice.number("tile_n", 0, kLargest);
  out.splits = choice.number("splits", 0, kLargest);
  out.cluster = choice.number("cluster", 0, kLargest);
  out.threads = choice.number("threads", 0, kLargest);
  out.blocks = choice.number("blocks", 0, kLargest);
  out.detail = choice.numbers<4>("detail");
  return choice.error().empty() ? Status() : bad_input(choice.error());
}

// nlohmann-json says at which byte it stopped.
std::int64_t line_of(std::string_view json, std::size_t byte) {
  const std::string_view before = json.substr(0, std::min(byte, json.size()));
  return 1 + std::count(before.begin(), before.end(), '\n');
}

}  // namespace

Result<PlanFile> parse_plan_file(std::string_view where, std::string_view json) {
  BILLFISH_RETURN_IF_ERROR(check_json_depth(where, json));
  Json root;
  try {
    root = Json::parse(json, [](int, Json::parse_event_t event, Json& parsed) {
      if (event != Json::parse_event_t::key) return true;
      const std::string& key = parsed.get_ref<const std::string&>();
      return std::find(std::begin(kKnown), std::end(kKnown), key) != std::end(kKnown);
    });
  } catch (const Json::parse_error& error) {
    return bad_input(text(where, ":", line_of(json, error.byte), ": not valid JSON, at byte ", error.byte));
  } catch (const Json::out_of_range& error) {  // a number that no double holds
    return bad_input(text(where, ": ", printable(error.what())));
  }
  Members file(std::string(where), ": ", &root);
  const std::int64_t schema = file.number("schema", 0, std::numeric_limits<int>::max());
  if (file.error().empty() && schema != kSchema) {
    return bad_input(text(where, ": schema is ", schema, "; this version reads ", kSchema));
  }
  const Json* device_json = file.find("device");
  const Json* plans = file.find("plans");
  if (!file.error().empty()) return bad_input(file.error());
  PlanFile out;
  Members device(text(where, ": device"), ".", device_json);
  out.kind = static_cast<DeviceKind>(device.word("kind", kKinds));
  if (out.kind == DeviceKind::cuda) {
    out.architecture = static_cast<int>(device.number("architecture", 10, 1000));
    out.multiprocessors = static_cast<int>(device.number("multiprocessors", 1, 1 << 20));
  }
  if (!device.error().empty()) return bad_input(device.error());
  if (!plans->is_array()) return bad_input(text(where, ": plans is not a list"));
  if (plans->size() > kMostPlans) return bad_input(text(where, ": ", plans->size(), " plans; at most ", kMostPlans, " are read"));
  out.plans.resize(plans->size());
  for (std::size_t i = 0; i < plans->size(); ++i) {
    BILLFISH_RETURN_IF_ERROR(read_plan(text(where, ": plans[", i, "]"), (*plans)[i], out.plans[i]));
  }
  return Result<PlanFile>(std::move(out));
}

Result<PlanFile> read_plan_file(const std::string& path) {
  const Result<std::string> json = read_text(path, kLargestFile);
  if (!json.ok()) return json.status();
  return parse_plan_file(printable(path), *json);
}

}  // namespace billfish::formats
