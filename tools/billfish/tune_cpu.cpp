// SPDX-License-Identifier: Apache-2.0
// Candidates on a CPU: one an implementation. Checked against the oracle on the first and the last columns, timed on weights that rotate.
#include <algorithm>
#include <optional>

#include "bench_data.hpp"
#include "errors.hpp"
#include "product.hpp"
#include "timing.hpp"
#include "tune.hpp"
#include "types.hpp"

namespace billfish::cli {
namespace {

constexpr std::int64_t kCheckedColumns = 64;

class CpuTuneDevice : public TuneDevice {
 public:
  explicit CpuTuneDevice(const TuneOptions& options) : options_(options), pool_(options.bench.threads) {
    product_.device = options.bench.device;
    product_.implementation = options.bench.implementation;
    product_.a_type = options.bench.act;
    product_.parallel = pool_.parallel();
  }
  std::string name() const override { return "cpu"; }

  void begin(const BenchShape& shape) override {
    shape_ = shape;
    layer_.reset();
  }

  void make_weights() override {
    const RandomMatrix matrix(shape_.k, shape_.n, options_.bench.group, options_.bench.type, BILLFISH_F16, options_.bench.seed);
    layer_.emplace(matrix.matrix(), pool_.parallel(), shape_.label);
  }

  billfish_problem problem(std::int64_t m) const override {
    billfish_problem problem = BILLFISH_PROBLEM_INIT;
    problem.m = m;
    problem.n = shape_.n;
    problem.k = shape_.k;
    problem.group = options_.bench.group;
    problem.type = options_.bench.type;
    problem.a_type = product_.a_type;
    problem.c_type = product_.c_type;
    problem.scale_type = BILLFISH_F16;
    problem.precision = product_.precision;
    problem.threads = pool_.threads();
    return problem;
  }

  std::string check(std::int64_t m, const std::string&) override {
    const std::vector<std::byte> a = random_activations(m, shape_.k, product_.a_type, options_.bench.seed);
    const Buffer c(m * shape_.n * bytes_of(product_.c_type));
    Product(*layer_, product_).run(a.data(), m, c.data());
    const std::int64_t width = std::min(kCheckedColumns, shape_.n);
    for (const std::int64_t begin : {std::int64_t{0}, shape_.n - width}) {
      const Comparison compared = compare_with_oracle(*layer_, product_, a.data(), m, c.data(), begin, begin + width);
      if (compared.passed) continue;
      return fmt::format("error {:.3g} at row {} column {}, where the bound is {:.3g}", compared.error, compared.row, compared.column,
                         compared.bound);
    }
    return "";
  }

  double glance(std::int64_t m) override {
    const std::vector<std::byte> a = random_activations(m, shape_.k, product_.a_type, options_.bench.seed);
    const Buffer c(m * shape_.n * bytes_of(product_.c_type));
    const double start = billfish_tools_now();
    Product(*layer_, product_).run(a.data(), m, c.data());
    return (billfish_tools_now() - start) * 1e6;
  }

  double quick(std::int64_t m) override { return product_seconds(*layer_, product_, m) * 1e6; }

  std::vector<double> take_turns(std::int64_t m, std::size_t count, const std::function<void(std::size_t)>& use) override {
    std::vector<double> us;
    for (std::size_t i = 0; i < count; ++i) {
      use(i);
      us.push_back(quick(m));
    }
    return us;
  }

 private:
  const TuneOptions& options_;
  Pool pool_;
  ProductOptions product_;
  BenchShape shape_;
  std::optional<PackedLayer> layer_;
};

}  // namespace

std::unique_ptr<TuneDevice> tune_on_cpu(const TuneOptions& options) { return std::make_unique<CpuTuneDevice>(options); }

}  // namespace billfish::cli
