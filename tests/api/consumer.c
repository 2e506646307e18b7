/* SPDX-License-Identifier: Apache-2.0
 * A C99 program that uses the library as its documentation says: compiled with every warning as an error, linked with the shared library.
 * Prints nothing and returns 0 if all is well, else the line that went wrong. */
#include <billfish/billfish.h>
#include <billfish/billfish_tools.h>
#include <stdlib.h>
#include <string.h>

#define REQUIRE(condition)             \
  do {                                 \
    if (!(condition)) return __LINE__; \
  } while (0)

enum { N = 64, K = 32, M = 2 };

int main(void) {
  unsigned char codes[K * N];
  uint16_t scales[N];
  float a[M * K], c[M * N];
  billfish_matrix matrix = BILLFISH_MATRIX_INIT;
  billfish_packed_sizes sizes = BILLFISH_PACKED_SIZES_INIT;
  billfish_weights weights = BILLFISH_WEIGHTS_INIT;
  billfish_gemm_args args = BILLFISH_GEMM_ARGS_INIT;
  billfish_parallel parallel = BILLFISH_PARALLEL_INIT;
  size_t workspace_bytes = 0;
  void* workspace = NULL;
  int i, j, k;

  REQUIRE(billfish_version() == BILLFISH_VERSION_MAJOR * 10000 + BILLFISH_VERSION_MINOR * 100 + BILLFISH_VERSION_PATCH);
  for (i = 0; i < K * N; ++i) codes[i] = (unsigned char)((i * 7 + i / N) % 16);
  for (i = 0; i < N; ++i) scales[i] = 0x3800; /* 0.5 */
  for (i = 0; i < M * K; ++i) a[i] = (float)(i % 5 - 2);
  memset(c, 0xff, sizeof c);

  matrix.format = BILLFISH_FORMAT_RAW;
  matrix.type = BILLFISH_U4B8;
  matrix.n = N;
  matrix.k = K;
  matrix.group = -1;
  matrix.codes = codes;
  matrix.scales = scales;
  matrix.scale_type = BILLFISH_F16;
  REQUIRE(billfish_packed_sizes_of(&matrix, &sizes) == BILLFISH_OK);
  REQUIRE(sizes.codes == K * N / 2 && sizes.zeros == 0);
  weights.codes = malloc((size_t)sizes.codes); /* malloc aligns to 16 bytes */
  weights.scales = malloc((size_t)sizes.scales);
  REQUIRE(weights.codes != NULL && weights.scales != NULL);
  REQUIRE(billfish_pack(&matrix, &weights, NULL, NULL) == BILLFISH_OK);

  REQUIRE(billfish_pool_create(2, &parallel.pool) == BILLFISH_OK);
  args.m = M;
  args.a = a;
  args.lda = K;
  args.c = c;
  args.ldc = N;
  args.a_type = BILLFISH_F32;
  args.c_type = BILLFISH_F32;
  args.parallel = &parallel;
  REQUIRE(billfish_gemm_workspace(&weights, &args, &workspace_bytes) == BILLFISH_OK);
  if (workspace_bytes > 0) {
    workspace = malloc(workspace_bytes);
    REQUIRE(workspace != NULL);
    args.workspace = workspace;
    args.workspace_bytes = workspace_bytes;
  }
  REQUIRE(billfish_gemm(&weights, &args, NULL) == BILLFISH_OK);
  for (i = 0; i < M; ++i) {
    for (j = 0; j < N; ++j) {
      float sum = 0.0f; /* small integers and halves: exact */
      for (k = 0; k < K; ++k) sum += a[i * K + k] * 0.5f * (float)(codes[k * N + j] - 8);
      REQUIRE(c[i * N + j] == sum);
    }
  }
  args.m = -1;
  REQUIRE(billfish_gemm(&weights, &args, NULL) == BILLFISH_INVALID_ARGUMENT);
  REQUIRE(strcmp(billfish_last_error(), "args->m is -1; it must be 0 or more") == 0);
  REQUIRE(billfish_tools_cuda_devices() >= 0);
  billfish_pool_destroy(parallel.pool);
  free(workspace);
  free(weights.codes);
  free(weights.scales);
  return 0;
}
