/* SPDX-License-Identifier: Apache-2.0
 *
 * Billfish: C[M,N] = A[M,K] x dequant(W)[K,N] (+ bias), with 16- or 32-bit activations A and weights W stored in 4 or 8 bits.
 *
 * This header is the only stable surface of the library. It is plain C99 and needs nothing but the standard headers below.
 *
 * Conventions
 *   - Every function that can fail returns a billfish_status; billfish_last_error() then tells, for the calling thread, which
 *     argument was wrong, its value and what is supported.
 *   - Structs begin with their own size. Fill them with the matching *_INIT macro: all zero but the size. Fields that a newer version
 *     adds are read as zero when an older caller's size does not reach them; a newer caller's larger struct is accepted while what this
 *     library does not know is zero. Every reserved field must be zero. Results are written as far as the caller's size reaches.
 *   - Sizes are int64_t and count elements unless the name says bytes. Row-major throughout: element (i,j) is p[i * ld + j].
 *   - Nothing here prints, aborts, exits or throws. No function keeps a pointer after it returns, unless it says so.
 *   - Compatibility: within one major version (the SONAME) functions, fields and enum values are only added. docs/c-api.md has the rule.
 *   - Thread safety is stated for every function. "Any thread" means: from many threads at once, on distinct outputs.
 */
#ifndef BILLFISH_BILLFISH_H
#define BILLFISH_BILLFISH_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#if defined(BILLFISH_BUILDING)
#define BILLFISH_API __declspec(dllexport)
#else
#define BILLFISH_API __declspec(dllimport)
#endif
#elif defined(__GNUC__)
#define BILLFISH_API __attribute__((visibility("default")))
#else
#define BILLFISH_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ------------------------------------------------------------------------------------------------ version and errors */

#define BILLFISH_VERSION_MAJOR 0
#define BILLFISH_VERSION_MINOR 1
#define BILLFISH_VERSION_PATCH 0

typedef enum billfish_status {
  BILLFISH_OK = 0,
  BILLFISH_INVALID_ARGUMENT = 1, /* the call is wrong: null, misaligned, negative, contradictory */
  BILLFISH_BAD_INPUT = 2,        /* the data is wrong: a missing, truncated or inconsistent file, a non-finite scale */
  BILLFISH_UNSUPPORTED = 3,      /* legal, but no implementation here can do it */
  BILLFISH_DEVICE_ERROR = 4,     /* no such device, or the device's driver reported an error */
  BILLFISH_OUT_OF_MEMORY = 5,
  BILLFISH_WORKSPACE_TOO_SMALL = 6, /* ask billfish_gemm_workspace for the size */
  BILLFISH_IO_ERROR = 7,            /* reading or writing failed: permissions, full disk */
  BILLFISH_CANCELLED = 8,           /* a progress callback asked to stop */
  BILLFISH_INTERNAL = 9             /* a defect of this library: please report it */
} billfish_status;

/* major * 10000 + minor * 100 + patch of the library that is loaded. Any thread. */
BILLFISH_API int billfish_version(void);
/* "0.1.0". Any thread; the string is static. */
BILLFISH_API const char* billfish_version_string(void);
/* "ok", "invalid argument", ... Any thread; the string is static; never NULL. */
BILLFISH_API const char* billfish_status_name(billfish_status status);
/* What the last failed call of this thread said; "" if none failed. Valid until this thread's next call. Any thread. */
BILLFISH_API const char* billfish_last_error(void);

typedef enum billfish_log_level { BILLFISH_LOG_DEBUG = 0, BILLFISH_LOG_INFO = 1, BILLFISH_LOG_WARNING = 2 } billfish_log_level;
typedef void (*billfish_log_fn)(void* user, billfish_log_level level, const char* message);
/* Where notes go (plans chosen, files opened). NULL, the default, drops them. Any thread; the callback may be called from any, and once
 * more on another thread while this function returns. */
BILLFISH_API void billfish_set_log(billfish_log_fn log, void* user);

/* ------------------------------------------------------------------------------------------------------------- types */

/* How codes are stored: unsigned, with an implicit zero (u4b8: 8, u8b128: 128) or with stored zeros (u4, u8). */
typedef enum billfish_weight_type {
  BILLFISH_U4B8 = 0,
  BILLFISH_U4 = 1,
  BILLFISH_U8B128 = 2,
  BILLFISH_U8 = 3
  /* later: E4M3, E2M1 */
} billfish_weight_type;

typedef enum billfish_element_type { BILLFISH_F32 = 0, BILLFISH_F16 = 1, BILLFISH_BF16 = 2 } billfish_element_type;

typedef enum billfish_device_kind { BILLFISH_CPU = 0, BILLFISH_CUDA = 1 } billfish_device_kind;

/* Where codes, zeros and scales of a billfish_matrix come from. FORMATS in docs/formats.md has the bytes. */
typedef enum billfish_format {
  BILLFISH_FORMAT_GPTQ = 0, /* v1: stored zeros are one less */
  BILLFISH_FORMAT_GPTQ_V2 = 1,
  BILLFISH_FORMAT_AWQ = 2,                /* AWQ "gemm" */
  BILLFISH_FORMAT_COMPRESSED_TENSORS = 3, /* pack-quantized */
  BILLFISH_FORMAT_RAW = 4,                /* codes uint8 [K,N], zeros uint8 [groups,N] or NULL, scales [groups,N] */
  BILLFISH_FORMAT_MARLIN = 5              /* already packed */
} billfish_format;

/* What may happen to activations on their way into the dot product (CPU; GPU kernels are always 16-bit in, f32 accumulate). */
typedef enum billfish_precision {
  BILLFISH_PRECISION_FULL = 0, /* default: f16 exact, f32 within 2^-16 each */
  BILLFISH_PRECISION_BF16 = 1, /* rounded once to bf16 */
  BILLFISH_PRECISION_INT8 = 2  /* opt-in: one int8 scale per row and group */
} billfish_precision;

/* ------------------------------------------------------------------------------------------------- threads (CPU work) */

typedef void (*billfish_task_fn)(void* task_context, int64_t index);
/* A caller-supplied parallel for: must call task(task_context, i) exactly once for every i in [0, count) and return after all. */
typedef void (*billfish_parallel_for_fn)(void* user, int64_t count, billfish_task_fn task, void* task_context);

typedef struct billfish_pool billfish_pool; /* a persistent set of threads */
/* threads >= 1 counts the calling thread; 0 means one per core this process may use. *out is the caller's to destroy. Any thread. */
BILLFISH_API billfish_status billfish_pool_create(int threads, billfish_pool** out);
/* NULL is a no-op. Any thread, but not while a call that uses the pool runs. */
BILLFISH_API void billfish_pool_destroy(billfish_pool* pool);
/* The calling thread included; 1 for NULL. Any thread. */
BILLFISH_API int billfish_pool_threads(const billfish_pool* pool);

/* Who does CPU work. All zero: the calling thread alone. Results are bitwise the same whatever is chosen.
 * One pool serves one call at a time; a second caller waits. */
typedef struct billfish_parallel {
  size_t size;
  billfish_pool* pool;                   /* used if not NULL */
  billfish_parallel_for_fn parallel_for; /* else used if not NULL */
  void* user;
  int threads; /* with parallel_for: how many tasks may run at once (a hint for cutting the work) */
  int reserved;
} billfish_parallel;
#define BILLFISH_PARALLEL_INIT \
  { sizeof(billfish_parallel), NULL, NULL, NULL, 0, 0 }

/* ------------------------------------------------------------------------------- a matrix in checkpoint order, and packed */

/* A quantised matrix as a checkpoint stores it. Borrowed memory. Shapes by format: docs/formats.md, section 1. */
typedef struct billfish_matrix {
  size_t size;
  billfish_format format;
  billfish_weight_type type;
  int64_t n, k;
  int64_t group; /* codes along K that share a scale; -1 (or >= k): one group */
  const void* codes;
  const void* zeros; /* NULL for u4b8 and u8b128 unless the format stores constant zeros, which are then checked */
  const void* scales;
  const int32_t* g_idx; /* [k] group of every row, or NULL */
  const int32_t* perm;  /* [k], MARLIN only: row k' of the packed matrix is original row perm[k'] */
  const void* bias;     /* [n], plain order, or NULL */
  billfish_element_type scale_type;
  billfish_element_type bias_type;
  int64_t codes_bytes, zeros_bytes, scales_bytes; /* checked against the shape; 0: not checked */
  billfish_device_kind device_kind;               /* where all of the pointers point */
  int device_index;
  int64_t reserved[6];
} billfish_matrix;
#define BILLFISH_MATRIX_INIT                                                                                                               \
  {                                                                                                                                        \
    sizeof(billfish_matrix), BILLFISH_FORMAT_GPTQ, BILLFISH_U4B8, 0, 0, 0, NULL, NULL, NULL, NULL, NULL, NULL, BILLFISH_F32, BILLFISH_F32, \
        0, 0, 0, BILLFISH_CPU, 0, {                                                                                                        \
      0, 0, 0, 0, 0, 0                                                                                                                     \
    }                                                                                                                                      \
  }

enum {
  BILLFISH_WEIGHTS_WIDE_SCALES = 1,   /* some scale * code leaves the 16-bit range: run with the scale on the f32 accumulator */
  BILLFISH_WEIGHTS_BIAS_PERMUTED = 2, /* the bias lies in the per-column scale order, not plain */
  BILLFISH_WEIGHTS_K_SHARDED = 4      /* reserved: K is a shard of a longer one, all groups' scales are present */
};

/* A packed matrix: Marlin bytes wherever they already lie, on a CPU or a GPU. No handle: fill it and multiply.
 * padded_n = n rounded up to 64, padded_k = k rounded up to 16, groups = ceil(k / group), one if group is -1 or >= k.
 *   codes   int32 [padded_k / 16, padded_n * bits / 2]
 *   scales  scale_type [groups, padded_n], in the grouped order, or the per-column order when there is one group
 *   zeros   int32 [groups, padded_n * bits / 32] for u4 and u8, else NULL
 *   perm    int32 [k] or NULL; g_idx int32 [k], sorted, or NULL (then row k' belongs to group k' / group)
 * codes must be aligned to 16 bytes, the rest to 16 bytes on CUDA and to their element on the CPU. */
typedef struct billfish_weights {
  size_t size;
  billfish_weight_type type;
  billfish_element_type scale_type;
  int64_t n, k, group;
  void* codes; /* not const: billfish_pack writes here; billfish_gemm only reads */
  void* scales;
  void* zeros;
  int32_t* perm;
  int32_t* g_idx;
  void* bias; /* [n], or NULL */
  billfish_element_type bias_type;
  uint32_t flags; /* BILLFISH_WEIGHTS_* */
  billfish_device_kind device_kind;
  int device_index;
  /* reserved for what comes, but for findings: all zero */
  const void* global_scale;
  const void* float_zeros;
  int64_t k_offset;
  int64_t experts;
  uint32_t* findings; /* billfish_pack on CUDA: a word of device memory for BILLFISH_FOUND_* bits, or NULL; others ignore it */
  int64_t reserved[5];
} billfish_weights;
#define BILLFISH_WEIGHTS_INIT                                                                                                              \
  {                                                                                                                                        \
    sizeof(billfish_weights), BILLFISH_U4B8, BILLFISH_F32, 0, 0, 0, NULL, NULL, NULL, NULL, NULL, NULL, BILLFISH_F32, 0u, BILLFISH_CPU, 0, \
        NULL, NULL, 0, 0, NULL, {                                                                                                          \
      0, 0, 0, 0, 0                                                                                                                        \
    }                                                                                                                                      \
  }

/* What billfish_pack on CUDA finds in the data, for a host that looks after it has synchronised. All but the first are what packing on the
 * CPU answers with BILLFISH_BAD_INPUT, uneven groups apart, which are supported there. */
enum {
  BILLFISH_FOUND_WIDE_SCALES = 1,   /* the same bit as BILLFISH_WEIGHTS_WIDE_SCALES: or it into the weights' flags */
  BILLFISH_FOUND_BAD_SCALE = 0x100, /* a scale that is not finite */
  BILLFISH_FOUND_BAD_ZERO = 0x200,  /* a zero that contradicts the type */
  BILLFISH_FOUND_BAD_CODE = 0x400,  /* a raw code that has more bits than the type */
  BILLFISH_FOUND_BAD_ORDER = 0x800  /* g_idx names no group, or makes groups of uneven size */
};

/* Bytes of each part of the packed form; a part that the matrix does not need is 0. */
typedef struct billfish_packed_sizes {
  size_t size;
  int64_t codes, scales, zeros, perm, g_idx, bias;
} billfish_packed_sizes;
#define BILLFISH_PACKED_SIZES_INIT \
  { sizeof(billfish_packed_sizes), 0, 0, 0, 0, 0, 0 }

/* How much memory billfish_pack will write. Reads g_idx, and nothing else behind the pointers. Any thread. */
BILLFISH_API billfish_status billfish_packed_sizes_of(const billfish_matrix* matrix, billfish_packed_sizes* out);

/* Checkpoint order -> Marlin bytes, into the memory that `out` points to (sizes from billfish_packed_sizes_of). The pointers and
 * the device of `out` are the caller's; its type, shape and flags are written, and a pointer to a part that this matrix does not need
 * becomes NULL. Padding contributes exactly 0 to any product.
 * CPU: validates (non-finite scales, zeros that contradict the type, g_idx out of range: BILLFISH_BAD_INPUT); `stream` is ignored.
 * CUDA: enqueued on `stream`, no synchronisation, so the call cannot judge data: if out->findings is not NULL, that word of device memory
 * tells what there is in it (BILLFISH_FOUND_*). BILLFISH_WEIGHTS_WIDE_SCALES, if set in out->flags, stays set. g_idx must be NULL or give
 * groups of equal size: the scales of any other group become NaN, so that no product is plausibly wrong; a trivial g_idx is not recognised
 * as one and costs a gather. Any thread. `parallel` may be NULL. */
BILLFISH_API billfish_status billfish_pack(const billfish_matrix* matrix, billfish_weights* out, const billfish_parallel* parallel,
                                           void* stream);

/* The way back, code for code (CPU memory only): `out` has format, pointers and byte sizes set by the caller, of the shapes of that
 * format; what its const pointers point to is written. Its n and k may be 0; type, group and scale_type are those of the weights.
 * BILLFISH_UNSUPPORTED where the format cannot hold it (act order or 8-bit to AWQ). Any thread. */
BILLFISH_API billfish_status billfish_unpack(const billfish_weights* weights, const billfish_matrix* out,
                                             const billfish_parallel* parallel);

/* float(scale) * (code - zero) as f32 [k,n] in original row order (CPU memory only). Any thread. */
BILLFISH_API billfish_status billfish_dequantize(const billfish_weights* weights, float* out, int64_t ld,
                                                 const billfish_parallel* parallel);

/* The two functions that callers of Marlin write by hand. CPU memory; shapes that are not whole tiles (k % 16, n % 64) are refused.
 * int32 [k * bits / 32, n] -> int32 [k / 16, n * bits / 2]; bits is 4 or 8. Any thread. */
BILLFISH_API billfish_status billfish_repack_gptq_to_marlin(const int32_t* source, int32_t* target, int64_t k, int64_t n, int bits);
/* 16-bit scales [ceil(k / group), n]: the grouped order, or the per-column order if group is -1 or >= k. Any thread. */
BILLFISH_API billfish_status billfish_repack_scales_to_marlin(const uint16_t* source, uint16_t* target, int64_t k, int64_t n,
                                                              int64_t group);

/* --------------------------------------------------------------------------------------------------------- multiplying */

enum {
  BILLFISH_GEMM_NO_BIAS = 1,          /* leave the weights' bias out */
  BILLFISH_GEMM_BATCH_INVARIANT = 2,  /* a row's bits depend neither on m nor on its neighbours: see billfish_gemm */
  BILLFISH_GEMM_DEPENDENT_LAUNCH = 4, /* CUDA sm_90: may start before the previous kernel of the stream ends; the weights must not be
                                         written by it (they do not change while a graph runs) */
  BILLFISH_GEMM_ZEROED_WORKSPACE = 8  /* CUDA: the workspace was set to zeros once and only calls with this flag have written to it
                                         since: each leaves it as the next one needs it, whatever its sizes. Faster on sm_90 */
};

typedef struct billfish_gemm_args {
  size_t size;
  int64_t m; /* >= 0; 0 does nothing */
  const void* a;
  int64_t lda; /* row stride of a, in elements, >= k (any value if m <= 1) */
  void* c;
  int64_t ldc; /* row stride of c, in elements, >= n */
  billfish_element_type a_type;
  billfish_element_type c_type;
  billfish_precision precision;
  uint32_t flags;                    /* BILLFISH_GEMM_* */
  void* workspace;                   /* on the weights' device; no zeroing needed without the flag; not shared by calls that run at once */
  size_t workspace_bytes;            /* billfish_gemm_workspace gives the best size; less may do, slower: on CUDA 0 always does, but for
                                        BILLFISH_GEMM_BATCH_INVARIANT */
  const char* implementation;        /* NULL: the best one; else its name, forced ("cpu_avx2", "sm80"); see BILLFISH_FORCE */
  const billfish_parallel* parallel; /* CPU only; NULL: the calling thread */
  int64_t reserved[6];
} billfish_gemm_args;
#define BILLFISH_GEMM_ARGS_INIT                                                                                                      \
  {                                                                                                                                  \
    sizeof(billfish_gemm_args), 0, NULL, 0, NULL, 0, BILLFISH_F32, BILLFISH_F32, BILLFISH_PRECISION_FULL, 0u, NULL, 0, NULL, NULL, { \
      0, 0, 0, 0, 0, 0                                                                                                               \
    }                                                                                                                                \
  }

/* c = a x weights (+ bias). f32 accumulation; deterministic: the same call gives the same bits. `stream` is a cudaStream_t for CUDA
 * weights (NULL: the default stream) and ignored on the CPU. CUDA: no allocation, no synchronisation, capturable in a graph; the
 * current device is left as it was. CPU: returns when done. Any thread. The environment variable BILLFISH_FORCE names an
 * implementation for every call that does not name one.
 * With BILLFISH_GEMM_BATCH_INVARIANT a row of a gives the same bits in every such call with the same weights, types, precision,
 * implementation and device, whatever m, the other rows, strides, addresses, the other flags but NO_BIAS, the workspace and loaded plans
 * are. A call that could keep that promise only with a larger workspace is refused: BILLFISH_WORKSPACE_TOO_SMALL, and the message says how
 * large. On sm_90 that can be where the weights have an activation order or a or lda is not aligned to 16 bytes; a workspace that is enough
 * for m rows is enough for any of them. */
BILLFISH_API billfish_status billfish_gemm(const billfish_weights* weights, const billfish_gemm_args* args, void* stream);

/* Bytes of workspace with which billfish_gemm runs its best plan. Nothing behind pointers is read, but how a and c are aligned counts: set
 * them, or take a NULL for one aligned to 16 bytes. Any thread. */
BILLFISH_API billfish_status billfish_gemm_workspace(const billfish_weights* weights, const billfish_gemm_args* args, size_t* bytes);

/* Everything lazy done now (module load, kernel attributes, CPU detection), so that no later call does it inside a graph capture.
 * Any thread. */
BILLFISH_API billfish_status billfish_prepare(billfish_device_kind kind, int device_index);

/* ------------------------------------------------------------------------------------------- implementations and plans */

typedef struct billfish_implementation_info {
  size_t size;
  const char* name; /* static */
  billfish_device_kind device_kind;
  int available;      /* 1 if this build and machine can run it */
  const char* reason; /* why not, or ""; static */
  int64_t reserved[2];
} billfish_implementation_info;
#define BILLFISH_IMPLEMENTATION_INFO_INIT                                       \
  {                                                                             \
    sizeof(billfish_implementation_info), NULL, BILLFISH_CPU, 0, NULL, { 0, 0 } \
  }
/* Any thread. */
BILLFISH_API int billfish_implementation_count(void);
/* In order of preference; index from 0. Available: some device here can run an ordinary product with it. Any thread. */
BILLFISH_API billfish_status billfish_implementation(int index, billfish_implementation_info* out);

/* A problem without pointers, and a device that need not be here. */
typedef struct billfish_problem {
  size_t size;
  int64_t m, n, k, group;
  billfish_weight_type type;
  billfish_element_type a_type, c_type, scale_type;
  billfish_precision precision;
  uint32_t flags; /* BILLFISH_GEMM_* */
  int act_order, bias;
  int wide_scales;
  int threads;             /* CPU: how many; 0: one per core */
  int64_t workspace_bytes; /* -1: as much as the plan likes */
  int64_t reserved[4];
} billfish_problem;
#define BILLFISH_PROBLEM_INIT                                                                                                            \
  {                                                                                                                                      \
    sizeof(billfish_problem), 0, 0, 0, 0, BILLFISH_U4B8, BILLFISH_F32, BILLFISH_F32, BILLFISH_F32, BILLFISH_PRECISION_FULL, 0u, 0, 0, 0, \
        0, -1, {                                                                                                                         \
      0, 0, 0, 0                                                                                                                         \
    }                                                                                                                                    \
  }

/* Who would run it and why: every candidate in order, each refusal with its reason, the chosen plan. `device` is "cpu", "cuda" (the
 * first device here), or "sm_80", "sm_90", ... for a typical device of that architecture, or NULL for the best device here.
 * Text, or JSON if `json` is not 0. Writes at most capacity bytes, NUL included, and the full length (without NUL) to *length
 * if that is not NULL; with buffer NULL and capacity 0 only the length.
 * BILLFISH_UNSUPPORTED if nobody can; the text is written all the same. Any thread. */
BILLFISH_API billfish_status billfish_explain(const billfish_problem* problem, const char* device, const char* implementation, int json,
                                              char* buffer, size_t capacity, size_t* length);

/* Plans that `billfish tune` found to be the fastest on a device, from the file that it wrote: from now on they come before the library's
 * own choice, for the problems and the kind of device that they were found for. They count for the whole process, behind those loaded
 * before; where two speak of the same problem, the later one counts. A plan that this version of the library does not have, that needs
 * more workspace than a call brings, or that would change the bits of a call with BILLFISH_GEMM_BATCH_INVARIANT, is passed over. Other
 * products may then differ in their last bits from those before the call: they come from other plans; and the workspace that is best may be
 * larger.
 * NULL forgets all plans, those of the environment too. Nothing changes when the call fails: BILLFISH_BAD_INPUT names the entry of the
 * file and what is wrong with it. Any thread; calls that run at the same time use either table.
 * The environment variable BILLFISH_PLANS names a file that is loaded before the first plan is chosen; what is wrong with it goes to the
 * log and does no harm. billfish_explain says when a plan comes from a file. */
BILLFISH_API billfish_status billfish_load_plans(const char* path);

/* --------------------------------------------------------------------------------------------------------- checkpoints */

typedef struct billfish_checkpoint billfish_checkpoint; /* an open file or model directory, read through memory maps */

typedef struct billfish_layer_info {
  size_t size;
  const char* name; /* module prefix, "model.layers.0.mlp.up_proj"; these strings live as long as the checkpoint is open */
  billfish_format format;
  billfish_weight_type type;
  int64_t n, k;
  int64_t group; /* -1: per column */
  int act_order, zero_points, bias;
  int type_from_config; /* 1 if symmetry was taken from the config; loading the layer looks at the zeros themselves */
  billfish_element_type scale_type;
  int64_t bytes;
  int supported;
  const char* reason; /* why not, or "" */
  int64_t reserved[4];
} billfish_layer_info;
#define BILLFISH_LAYER_INFO_INIT                                                                                                           \
  {                                                                                                                                        \
    sizeof(billfish_layer_info), NULL, BILLFISH_FORMAT_GPTQ, BILLFISH_U4B8, 0, 0, -1, 0, 0, 0, 0, BILLFISH_F16, 0, 0, NULL, { 0, 0, 0, 0 } \
  }

typedef struct billfish_tensor_info {
  size_t size;
  const char* name;  /* these pointers live as long as the checkpoint is open */
  const char* dtype; /* "F16", "BF16", "I32", ... */
  const int64_t* shape;
  int rank;
  int64_t bytes;
  int64_t reserved[2];
} billfish_tensor_info;
#define BILLFISH_TENSOR_INFO_INIT                                  \
  {                                                                \
    sizeof(billfish_tensor_info), NULL, NULL, NULL, 0, 0, { 0, 0 } \
  }

/* Opens a .safetensors file, a shard index, or a model directory; reads headers, configs and g_idx only. Any thread. */
BILLFISH_API billfish_status billfish_checkpoint_open(const char* path, billfish_checkpoint** out);
/* NULL is a no-op. Matrices loaded from it become invalid. Any thread, but not while another call uses the checkpoint. */
BILLFISH_API void billfish_checkpoint_close(billfish_checkpoint* checkpoint);
/* What was recognised and why: "gptq" and "config.json: quantization_config.quant_method is gptq". Any thread. */
BILLFISH_API const char* billfish_checkpoint_format(const billfish_checkpoint* checkpoint);
/* Any thread; like the one above, a string that lives as long as the checkpoint is open. */
BILLFISH_API const char* billfish_checkpoint_why(const billfish_checkpoint* checkpoint);
/* The quantisation config as JSON text; "{}" if there is none. Any thread. */
BILLFISH_API const char* billfish_checkpoint_config(const billfish_checkpoint* checkpoint);
/* How many quantised layers; 0 for NULL. Any thread. */
BILLFISH_API int64_t billfish_checkpoint_layers(const billfish_checkpoint* checkpoint);
/* What headers and configs say about one. Any thread. */
BILLFISH_API billfish_status billfish_checkpoint_layer(const billfish_checkpoint* checkpoint, int64_t index, billfish_layer_info* out);
/* BILLFISH_BAD_INPUT, with the nearest names in the message, if there is none of that name. Any thread. */
BILLFISH_API billfish_status billfish_checkpoint_find(const billfish_checkpoint* checkpoint, const char* name, int64_t* index);
/* How many tensors belong to no quantised layer; 0 for NULL. Any thread. */
BILLFISH_API int64_t billfish_checkpoint_tensors(const billfish_checkpoint* checkpoint);
/* One of them. Any thread. */
BILLFISH_API billfish_status billfish_checkpoint_tensor(const billfish_checkpoint* checkpoint, int64_t index, billfish_tensor_info* out);
/* A view into the map, with the type decided by looking at the zeros. Layers already in Marlin bytes come as BILLFISH_FORMAT_MARLIN;
 * billfish_pack copies such a matrix, billfish_weights_of_matrix borrows it. Valid until the checkpoint is closed. Any thread. */
BILLFISH_API billfish_status billfish_checkpoint_load(const billfish_checkpoint* checkpoint, int64_t index, billfish_matrix* out);

/* A BILLFISH_FORMAT_MARLIN matrix as weights, in place. Any thread. */
BILLFISH_API billfish_status billfish_weights_of_matrix(const billfish_matrix* matrix, billfish_weights* out);

#ifdef __cplusplus
}
#endif
#endif
