// SPDX-License-Identifier: Apache-2.0
// What the CPU implementations refuse and in which words, what they plan, and what this machine is taken for.
#include <gtest/gtest.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "backends.hpp"

namespace billfish::cpu_tests {
namespace {

gemm::Problem plain_problem() {
  gemm::Problem p;
  p.m = 1;
  p.n = 256;
  p.k = 512;
  p.group = 128;
  p.threads = 2;
  return p;
}

gemm::DeviceFacts everything() {
  gemm::DeviceFacts facts;
  facts.avx2 = facts.avx512 = facts.avx512_vnni = facts.avx512_bf16 = true;
  return facts;
}

TEST(CpuImplementations, SayWhatTheMachineLacks) {
  const gemm::Problem p = plain_problem();
  gemm::DeviceFacts facts = everything();
  EXPECT_EQ(cpu::avx512.why_not(p, facts), "");
  facts.avx512_bf16 = false;
  EXPECT_EQ(cpu::avx512.why_not(p, facts), "this machine has no AVX-512 BF16");
  facts.avx512_vnni = false;
  EXPECT_EQ(cpu::avx512.why_not(p, facts), "this machine has no AVX-512 VNNI");
  facts.avx512 = false;
  EXPECT_EQ(cpu::avx512.why_not(p, facts), "this machine has no AVX-512 F, BW, VL and VBMI");
  EXPECT_EQ(cpu::avx2.why_not(p, facts), "");
  facts.avx2 = false;
  EXPECT_EQ(cpu::avx2.why_not(p, facts), "this machine has no AVX2 with FMA and F16C");
  EXPECT_EQ(cpu::scalar.why_not(p, facts), "");
}

TEST(CpuImplementations, UseMatricesWhereTheMachineHasThem) {
  gemm::DeviceFacts facts = everything();
  facts.slow_bf16_dot = true;
  gemm::Problem p = plain_problem();
  EXPECT_EQ(cpu::amx.why_not(p, facts), "this machine has no AMX with bf16 and int8, or its system does not let this process use it");
  facts.amx = true;
  EXPECT_EQ(gemm::choose_plan(p, facts)->implementation, &cpu::amx);
  EXPECT_EQ(std::string(cpu::amx.plan(p, facts).policy_name), cpu::avx512.plan(p, facts).policy_name);  // one row: AVX-512's streams
  p.batch_invariant = true;
  EXPECT_EQ(std::string(cpu::amx.plan(p, facts).policy_name), "f32");  // which takes every activation
  p.precision = Precision::bf16;
  EXPECT_EQ(std::string(cpu::amx.plan(p, facts).policy_name), "bf16 matrices");
  p.precision = Precision::full;
  p.batch_invariant = false;
  p.m = 16;
  EXPECT_EQ(std::string(cpu::amx.plan(p, facts).policy_name), "bf16 matrices, activations hi + lo");
  p.a = ElementType::bf16;
  EXPECT_EQ(std::string(cpu::amx.plan(p, facts).policy_name), "bf16 matrices");
  p.precision = Precision::int8;
  EXPECT_EQ(std::string(cpu::amx.plan(p, facts).policy_name), "int8 matrices");
  EXPECT_EQ(gemm::choose_plan(p, facts, "cpu_avx512")->implementation, &cpu::avx512);
  facts.avx512_vnni = false;
  EXPECT_EQ(cpu::amx.why_not(p, facts), "this machine has no AVX-512 VNNI");
}

TEST(CpuImplementations, RefuseGroupsThatCutAStep) {
  for (const gemm::Implementation* implementation : {&cpu::scalar, &cpu::avx2, &cpu::avx512}) {
    gemm::Problem p = plain_problem();
    p.group = 24;
    EXPECT_EQ(implementation->why_not(p, everything()), "group is 24; supported are -1 and multiples of 16");
    p.group = 512;
    p.uneven_groups = true;
    EXPECT_NE(implementation->why_not(p, everything()).find("uneven"), std::string::npos);
  }
}

TEST(CpuImplementations, AreChosenInOrderAndByName) {
  const gemm::Problem p = plain_problem();
  gemm::DeviceFacts facts = everything();
  EXPECT_EQ(gemm::choose_plan(p, facts)->implementation, &cpu::avx512);
  EXPECT_EQ(gemm::choose_plan(p, facts, "cpu_avx2")->implementation, &cpu::avx2);
  EXPECT_EQ(gemm::choose_plan(p, facts, "cpu_scalar")->implementation, &cpu::scalar);
  facts.avx512_vnni = false;
  EXPECT_EQ(gemm::choose_plan(p, facts)->implementation, &cpu::avx2);
}

TEST(CpuImplementations, TellFewRowsFromMany) {
  for (const gemm::Implementation* implementation : {&cpu::scalar, &cpu::avx2, &cpu::avx512}) {
    gemm::Problem p = plain_problem();
    EXPECT_EQ(implementation->plan(p, everything()).detail[0], 1);
    p.batch_invariant = true;
    EXPECT_EQ(implementation->plan(p, everything()).detail[0], 0);
    p = plain_problem();
    p.m = 512;
    const gemm::Plan plan = implementation->plan(p, everything());
    EXPECT_EQ(plan.detail[0], 0);
    EXPECT_EQ(512 % plan.detail[1] == 0 || plan.detail[1] * 3 >= 512, true) << "rows in flight: " << plan.detail[1];
  }
}

TEST(CpuImplementations, MultiplyInF32WhereBf16DotsAreSlow) {
  gemm::Problem p = plain_problem();
  gemm::DeviceFacts slow = everything();
  slow.slow_bf16_dot = true;
  for (const Precision precision : {Precision::full, Precision::bf16}) {
    for (const std::int64_t m : {1, 100}) {
      p.precision = precision;
      p.m = m;
      EXPECT_EQ(std::string(cpu::avx512.plan(p, slow).policy_name).rfind("f32", 0), 0u) << m;
    }
  }
  p.m = 1;
  EXPECT_EQ(std::string(cpu::avx512.plan(p, everything()).policy_name), "bf16 dot");
  p.precision = Precision::full;
  EXPECT_EQ(std::string(cpu::avx512.plan(p, everything()).policy_name), "bf16 dot, activations hi + lo");
  p.precision = Precision::int8;  // these dots are fast everywhere
  EXPECT_EQ(std::string(cpu::avx512.plan(p, slow).policy_name), cpu::avx512.plan(p, everything()).policy_name);
  p.m = 24;  // but not everywhere is streaming so many rows the faster way
  EXPECT_EQ(cpu::avx512.plan(p, slow).detail[0], 0);
  EXPECT_EQ(cpu::avx512.plan(p, everything()).detail[0], 1);
}

TEST(CpuImplementations, RefuseAWorkspaceThatIsTooSmall) {
  std::mt19937 random(1);
  Options o;
  const Packed p = make_packed(o, random);
  const Rows a = random_rows(ElementType::f32, 1, o.k, 0, false, random);
  Rows c(ElementType::f32, 1, o.n, 0);
  const gemm::Problem problem = problem_of(p, 1, a.type, c.type, Precision::full, 1);
  const gemm::Plan plan = cpu::scalar.plan(problem, everything());
  std::vector<unsigned char> workspace(static_cast<std::size_t>(plan.workspace_bytes));
  gemm::Call call;
  call.weights = &p.matrix;
  call.m = 1;
  call.a = a.data();
  call.lda = a.stride;
  call.c = c.data();
  call.ldc = c.stride;
  call.workspace = workspace.data();
  call.workspace_bytes = plan.workspace_bytes - 1;
  const Status status = cpu::scalar.run(plan, problem, call);
  EXPECT_EQ(status.code(), Code::workspace_too_small);
  EXPECT_NE(status.message().find(std::to_string(plan.workspace_bytes)), std::string::npos) << status.message();
  EXPECT_TRUE(std::isnan(c.at(0, 0)));  // nothing was written
}

#if defined(__x86_64__)
// Codes are multiplied as subnormal numbers: a caller's thread that takes those for zero must get the same bits, and keep its mode.
TEST(CpuImplementations, GiveTheSameBitsWhereTheCallerFlushesSubnormals) {
  if (!cpu::facts().avx2) return;
  std::mt19937 random(3);
  Options o;
  const Packed p = make_packed(o, random);
  for (const std::int64_t m : {1, 2, 5, 20}) {
    const Rows a = random_rows(ElementType::f16, m, o.k, 0, false, random);
    Rows plain(ElementType::f32, m, o.n, 0), flushed = plain;
    const gemm::Problem problem = problem_of(p, m, a.type, plain.type, Precision::full, 1);
    ASSERT_EQ(multiply(cpu::avx2, everything(), p, problem, a, plain, {}), "");
    const unsigned mode = _mm_getcsr(), flushing = (mode | 0x8040u) & ~0x3fu;
    _mm_setcsr(flushing);
    const std::string why = multiply(cpu::avx2, everything(), p, problem, a, flushed, {});
    const unsigned after = _mm_getcsr();
    _mm_setcsr(mode);
    EXPECT_EQ(why, "");
    EXPECT_EQ(after & ~0x3fu, flushing) << "the mode of the caller's thread was changed";  // but for the sticky flags
    EXPECT_EQ(plain.bytes, flushed.bytes) << m << " rows";
  }
}

TEST(CpuFacts, AgreeWithTheCompilersOwnDetection) {
  const gemm::DeviceFacts facts = cpu::facts();
  EXPECT_EQ(facts.kind, DeviceKind::cpu);
  EXPECT_EQ(facts.avx2, __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"));
  EXPECT_EQ(facts.avx512, __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                              __builtin_cpu_supports("avx512vbmi"));
  EXPECT_EQ(facts.avx512_vnni, facts.avx512 && __builtin_cpu_supports("avx512vnni"));
  EXPECT_EQ(facts.avx512_bf16, facts.avx512 && __builtin_cpu_supports("avx512bf16"));
}
#endif

}  // namespace
}  // namespace billfish::cpu_tests
