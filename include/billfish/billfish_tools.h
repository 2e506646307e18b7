/* SPDX-License-Identifier: Apache-2.0
 *
 * UNSTABLE: what the command-line tool needs beyond billfish.h: the oracle, checkpoint writing, clocks and ceilings, device memory.
 * No compatibility promise; part of the same library. Same conventions as billfish.h. Every function here may be called from any
 * thread, on distinct outputs, except: what one call destroys or frees, no other may be using.
 */
#ifndef BILLFISH_BILLFISH_TOOLS_H
#define BILLFISH_BILLFISH_TOOLS_H

#include "billfish/billfish.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---------------------------------------------------------------------------------------------------------- the oracle */

/* Columns [n0, n1) of y = a x weights (+ bias) in double, and the bound on the error of the implementation that `args` would choose
 * (args: a, lda, a_type, c_type, precision, flags, implementation; its workspace and c are not used). CPU memory.
 * y and bound are [m, n1 - n0]; bound may be NULL. The implementation that the bound is for may be on another device:
 * `bound_device` says which kind. */
BILLFISH_API billfish_status billfish_tools_oracle(const billfish_weights* weights, const billfish_gemm_args* args, int64_t n0, int64_t n1,
                                                   billfish_device_kind bound_device, double* y, double* bound);
/* The same, and `probable` (or NULL): what a right implementation exceeds with probability below 1e-12 an element, if the activations'
 * signs were drawn at random and independently of the weights. docs/tolerance.md derives it. */
BILLFISH_API billfish_status billfish_tools_oracle_bounds(const billfish_weights* weights, const billfish_gemm_args* args, int64_t n0,
                                                          int64_t n1, billfish_device_kind bound_device, double* y, double* bound,
                                                          double* probable);

/* Element by element comparison of two matrices in any two forms (checkpoint order or packed), in original row order.
 * Writes the number of differing codes, zeros and scales, and one line about the first of them. CPU memory. */
BILLFISH_API billfish_status billfish_tools_compare(const billfish_matrix* left, const billfish_matrix* right, int64_t* codes,
                                                    int64_t* zeros, int64_t* scales, char* first, size_t first_capacity);

/* ------------------------------------------------------------------------------------------------- checkpoints, written */

/* Called between chunks of work; return non-zero to stop (BILLFISH_CANCELLED, nothing left behind). */
typedef int (*billfish_progress_fn)(void* user, const char* layer, int64_t bytes_done, int64_t bytes_total);

typedef struct billfish_convert_options {
  size_t size;
  int (*want_layer)(void* user, const char* layer); /* NULL: all; a layer not wanted is copied through as it is */
  int skip_unsupported;                             /* copy unsupported layers through instead of failing */
  billfish_progress_fn progress;
  void* user;
  const billfish_parallel* parallel;
  const char* source_version; /* reserved */
} billfish_convert_options;
#define BILLFISH_CONVERT_OPTIONS_INIT \
  { sizeof(billfish_convert_options), NULL, 0, NULL, NULL, NULL, NULL }

/* `in` (anything billfish_checkpoint_open reads) -> a checkpoint in Marlin bytes at `out`: a file if `in` is a file, else a directory.
 * Written beside the target and renamed when whole. BILLFISH_UNSUPPORTED names the first unsupported layer. */
BILLFISH_API billfish_status billfish_tools_pack_checkpoint(const char* in, const char* out, const billfish_convert_options* options);
/* The way back. format: "gptq", "gptq_v2", "awq", "compressed-tensors", or NULL for the source format the file remembers. */
BILLFISH_API billfish_status billfish_tools_unpack_checkpoint(const char* in, const char* out, const char* format,
                                                              const billfish_convert_options* options);
/* Marks an output path's leftovers for removal if the process is interrupted (async-signal-safe). */
BILLFISH_API void billfish_tools_abandon_outputs(void);

/* A safe matcher for the regexes that users write: literals . [] * + ? | () ^ $ \ escapes; linear time, no recursion on input.
 * 1 match, 0 no match, -1 not a valid expression (billfish_last_error says where). Matches anywhere in the text unless anchored. */
BILLFISH_API int billfish_tools_match(const char* expression, const char* text);

/* Random codes and power-of-two or random scales as a packed or checkpoint-order matrix are the caller's business; this quantises:
 * weights f32 [k,n] -> codes uint8 [k,n], zeros uint8 [groups,n] (u4, u8; else NULL), scales scale_type [groups,n], round to nearest. */
BILLFISH_API billfish_status billfish_tools_quantize(const float* weights, int64_t k, int64_t n, int64_t group, billfish_weight_type type,
                                                     billfish_element_type scale_type, uint8_t* codes, uint8_t* zeros, void* scales);
/* For whoever measures: of billfish_quantize_matrix in this thread, done(user, step) is called when a step ended, first with "" when the
 * work begins; a device is waited for before. On the CPU, steps that run in the pool's threads are not told of. NULL: nobody is told. */
BILLFISH_API void billfish_tools_quantize_trace(void (*done)(void* user, const char* step), void* user);
/* One quantised layer and plain tensors as a checkpoint directory of `format` ("gptq", ...): what `demo` and tests make. */
typedef struct billfish_named_matrix {
  const char* name;
  const billfish_matrix* matrix; /* format RAW */
} billfish_named_matrix;
BILLFISH_API billfish_status billfish_tools_write_checkpoint(const char* directory, const char* format, const billfish_named_matrix* layers,
                                                             int64_t count);

/* ------------------------------------------------------------------------------------------------------------ elements */

BILLFISH_API void billfish_tools_to_f32(const void* source, billfish_element_type type, float* target, int64_t count);
BILLFISH_API void billfish_tools_from_f32(const float* source, billfish_element_type type, void* target, int64_t count);

/* -------------------------------------------------------------------------------------------------- clocks and ceilings */

BILLFISH_API double billfish_tools_now(void); /* seconds, monotonic */

typedef struct billfish_cpu_ceilings {
  size_t size;
  double read_gbps;                          /* 0: reading depends on the buffer, billfish_tools_read_seconds measures that */
  double f32_gflops, bf16_gflops, int8_gops; /* dot rates in registers; 0 where the machine has no such instruction */
} billfish_cpu_ceilings;
#define BILLFISH_CPU_CEILINGS_INIT \
  { sizeof(billfish_cpu_ceilings), 0.0, 0.0, 0.0, 0.0 }
/* Arithmetic ceilings, `parallel` wide. About 0.2 s. */
BILLFISH_API billfish_status billfish_tools_cpu_ceilings(const billfish_parallel* parallel, billfish_cpu_ceilings* out);
/* 1e9 operations per second in one run of about `operations` of the dot that `precision` is held against (int8, else bf16, else f32),
   `parallel` wide: the ceiling of that moment. Negative if an argument is wrong. */
BILLFISH_API double billfish_tools_dot_rate(billfish_precision precision, double operations, const billfish_parallel* parallel);
/* Seconds to read `bytes` once, `parallel` wide: the read ceiling of that very buffer. Negative if an argument is wrong. */
BILLFISH_API double billfish_tools_read_seconds(const void* buffer, int64_t bytes, const billfish_parallel* parallel);
/* Seconds of c[m,n] = a[m,k] x b[k,n], f32, blocked and vectorised: the unquantised product to compare with on a CPU. `packed_b` is made
 * by the first call when *packed_b is NULL and freed with billfish_tools_dense_free. */
typedef struct billfish_dense billfish_dense;
BILLFISH_API billfish_status billfish_tools_dense_create(const float* b, int64_t k, int64_t n, billfish_precision precision,
                                                         billfish_dense** out);
BILLFISH_API billfish_status billfish_tools_dense_multiply(const billfish_dense* dense, const float* a, int64_t m, float* c,
                                                           const billfish_parallel* parallel);
BILLFISH_API void billfish_tools_dense_free(billfish_dense* dense);
/* Bytes that one multiplication must read of the packed b, and which kernel does it ("avx2 f32"). */
BILLFISH_API int64_t billfish_tools_dense_bytes(const billfish_dense* dense);
BILLFISH_API const char* billfish_tools_dense_name(const billfish_dense* dense);

/* Order statistics of timings (sorted in place), interpolated between neighbours. */
typedef struct billfish_summary {
  size_t size;
  double median, p10, p90, min, max;
  int64_t samples;
} billfish_summary;
#define BILLFISH_SUMMARY_INIT \
  { sizeof(billfish_summary), 0, 0, 0, 0, 0, 0 }
BILLFISH_API void billfish_tools_summarize(double* values, int64_t count, billfish_summary* out);

/* The bound of billfish_tools_oracle for elements whose sum and sum of magnitudes are already known. That is enough where codes minus
 * zeros are summed, as on CUDA devices; BILLFISH_UNSUPPORTED where the implementation may round otherwise. */
BILLFISH_API billfish_status billfish_tools_bound(const billfish_weights* weights, const billfish_gemm_args* args,
                                                  billfish_device_kind bound_device, const double* y, const double* magnitude,
                                                  int64_t count, double* bound);

/* -------------------------------------------------------------------------------------------------------- CUDA devices */

BILLFISH_API int billfish_tools_cuda_devices(void); /* 0 in a build or on a machine without CUDA */
BILLFISH_API billfish_status billfish_tools_cuda_name(int device, char* buffer, size_t capacity);
BILLFISH_API billfish_status billfish_tools_cuda_allocate(int device, size_t bytes, void** out);
BILLFISH_API void billfish_tools_cuda_free(int device, void* memory);
/* kind 0: to the device, 1: from it, 2: within it. Synchronous. */
BILLFISH_API billfish_status billfish_tools_cuda_copy(int device, void* target, const void* source, size_t bytes, int kind);
BILLFISH_API billfish_status billfish_tools_cuda_synchronize(int device);

/* --------------------------------------------------------------- measuring on CUDA devices (BILLFISH_DEVICE_ERROR without CUDA)
 * These calls allocate and synchronise; none belongs on a hot path. `stream` is a cudaStream_t; NULL is the default stream. */

BILLFISH_API billfish_status billfish_tools_cuda_stream_create(int device, void** stream);
BILLFISH_API void billfish_tools_cuda_stream_destroy(int device, void* stream);

/* A chain of calls, captured once: enqueue(user, 0 .. calls - 1, stream), then replayed and timed by device events. */
typedef struct billfish_cuda_graph billfish_cuda_graph;
typedef billfish_status (*billfish_enqueue_fn)(void* user, int64_t index, void* stream);
BILLFISH_API billfish_status billfish_tools_cuda_graph_create(int device, int64_t calls, billfish_enqueue_fn enqueue, void* user,
                                                              billfish_cuda_graph** out);
BILLFISH_API void billfish_tools_cuda_graph_free(billfish_cuda_graph* graph);
/* `rounds` times: one replay of each graph in turn, queued back to back. seconds[round * count + graph]. */
BILLFISH_API billfish_status billfish_tools_cuda_graph_time(billfish_cuda_graph* const* graphs, int64_t count, int64_t rounds,
                                                            double* seconds);

/* Time between two points of a stream, by device events. */
typedef struct billfish_cuda_timer billfish_cuda_timer;
BILLFISH_API billfish_status billfish_tools_cuda_timer_create(int device, billfish_cuda_timer** out);
BILLFISH_API void billfish_tools_cuda_timer_free(billfish_cuda_timer* timer);
BILLFISH_API billfish_status billfish_tools_cuda_timer_start(billfish_cuda_timer* timer, void* stream);
BILLFISH_API billfish_status billfish_tools_cuda_timer_stop(billfish_cuda_timer* timer, void* stream);
/* Waits for the stop. */
BILLFISH_API billfish_status billfish_tools_cuda_timer_seconds(billfish_cuda_timer* timer, double* seconds);
/* A named range of this thread for a profiler that is attached (NVTX); nothing happens without one. */
BILLFISH_API void billfish_tools_range_push(const char* name);
BILLFISH_API void billfish_tools_range_pop(void);

/* GB/s of reading `bytes` of device memory once from all multiprocessors. */
BILLFISH_API billfish_status billfish_tools_cuda_read_gbps(int device, int64_t bytes, double* gbps);

typedef struct billfish_cuda_telemetry {
  size_t size;
  double clock_mhz, memory_clock_mhz, power_w, power_limit_w, temperature_c; /* 0: not known */
  uint64_t throttle;                                                         /* the driver's mask of reasons */
  double busy_percent, memory_busy_percent;                                  /* of the driver's last sampling period */
  double memory_used, memory_total;                                          /* bytes */
  int known; /* 0: the driver's management library (NVML) is not here, or does not know the device; all is 0 then */
  int reserved;
} billfish_cuda_telemetry;
#define BILLFISH_CUDA_TELEMETRY_INIT \
  { sizeof(billfish_cuda_telemetry), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }
/* In every build: the driver is looked up at run time. */
BILLFISH_API billfish_status billfish_tools_cuda_telemetry(int device, billfish_cuda_telemetry* out);
/* "power cap, thermal"; "" for none. */
BILLFISH_API billfish_status billfish_tools_cuda_throttle_text(uint64_t reasons, char* buffer, size_t capacity);

BILLFISH_API billfish_status billfish_tools_cuda_fill_bits(int device, void* target, int64_t bytes, uint64_t seed, void* stream);
BILLFISH_API billfish_status billfish_tools_cuda_fill_uniform(int device, void* target, billfish_element_type type, int64_t count,
                                                              float low, float high, uint64_t seed, void* stream);
/* float(scale) * (code - zero), rounded once to `type`, dense [n,k] on the device in original row order. */
BILLFISH_API billfish_status billfish_tools_cuda_dequantize(const billfish_weights* weights, billfish_element_type type, void* target,
                                                            void* stream);
/* y = a x dense^T in double, and the sums of magnitudes; all of [m,n], or `count` elements (rows[i], columns[i]) if rows is not NULL.
 * dense is f32 [n,k] of billfish_tools_cuda_dequantize; no bias. Every pointer is device memory. */
BILLFISH_API billfish_status billfish_tools_cuda_product(int device, const void* a, billfish_element_type a_type, int64_t m, int64_t lda,
                                                         const float* dense, int64_t n, int64_t k, const int32_t* rows,
                                                         const int32_t* columns, int64_t count, double* y, double* magnitude, void* stream);
/* target[i] = source[rows[i] * ld + columns[i]] as f32. Every pointer is device memory. */
BILLFISH_API billfish_status billfish_tools_cuda_gather(int device, const void* source, billfish_element_type type, int64_t ld,
                                                        const int32_t* rows, const int32_t* columns, int64_t count, float* target,
                                                        void* stream);

/* ---------------------------------------------------------------------------------------- what a machine is (every build)
 * The driver is looked up at run time. Without it: BILLFISH_DEVICE_ERROR with one line that says what is missing. */

typedef struct billfish_cuda_facts { /* 0 and "": not known; sizes in bytes */
  size_t size;
  char name[128];
  char driver[64];               /* "580.65.06"; "" without NVML */
  int driver_cuda, runtime_cuda; /* 13000 is 13.0; runtime: 0 in a build without CUDA */
  int major, minor, multiprocessors;
  int clock_mhz, memory_clock_mhz, memory_bus_bits;
  int64_t memory_bytes, l2_bytes;
  int64_t shared_per_sm, shared_per_block, shared_reserved; /* reserved: of every block, by the driver */
  int registers_per_sm, threads_per_sm, blocks_per_sm, threads_per_block;
} billfish_cuda_facts;
#define BILLFISH_CUDA_FACTS_INIT \
  { sizeof(billfish_cuda_facts), {0}, {0}, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }
BILLFISH_API billfish_status billfish_tools_cuda_facts(int device, billfish_cuda_facts* out);

/* What a device does at most, measured by small kernels in about two seconds (needs a build with CUDA). 0: the device cannot do it. */
typedef struct billfish_cuda_figures {
  size_t size;
  double read_gbps, copy_gbps;     /* device memory; a copy counts reads and writes */
  double l2_gbps, shared_gbps;     /* all multiprocessors together */
  double memory_ns, l2_ns;         /* from address to value */
  double launch_us, graph_us;      /* an empty kernel of a chain: launched one by one, and in a graph */
  double round_trip_us;            /* launched and waited for */
  double mma_tflops, wgmma_tflops; /* f16 with f32 sums, operands at hand, for milliseconds: before a power limit bites */
} billfish_cuda_figures;
#define BILLFISH_CUDA_FIGURES_INIT \
  { sizeof(billfish_cuda_figures), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }
BILLFISH_API billfish_status billfish_tools_cuda_figures(int device, billfish_cuda_figures* out);

/* ------------------------------------------------------------------------------------------- layouts and plans, to be shown */

/* Where element (row, column) of a part lies in a matrix of `shape` (format, type, n, k and group are read): the index into the array
 * of 32-bit words and the bit at which its field begins; for scales the index of the element. A row of zeros or scales is a group.
 * Computed by the functions that the packer and the kernels use. */
typedef enum billfish_part { BILLFISH_PART_CODES = 0, BILLFISH_PART_ZEROS = 1, BILLFISH_PART_SCALES = 2 } billfish_part;
BILLFISH_API billfish_status billfish_tools_place(const billfish_matrix* shape, billfish_part part, int64_t row, int64_t column,
                                                  int64_t* index, int* bit);

/* The plan of a problem on a CUDA device that need not be here, with what a picture of it needs. device, implementation: as for
 * billfish_explain. BILLFISH_UNSUPPORTED if nobody can run it, or a CPU would. */
typedef struct billfish_plan_details {
  size_t size;
  const char* implementation; /* static */
  const char* policy;         /* static */
  int tile_m, tile_n, tile_k; /* of a block, and codes along K in a stage */
  int stages, splits, cluster, threads;
  int registers;     /* of a thread, at most: what the kernel was compiled for */
  int blocks_per_sm; /* that the kernel was compiled for */
  int persistent;    /* blocks go on to further tiles */
  int dependent_launch;
  int multiprocessors;
  int reduction; /* 0: none; 1: within a cluster; 2: a second kernel; 3: the last block of a tile, through the workspace */
  int reserved;
  int64_t tiles_m, tiles_n, blocks;
  int64_t shared_bytes;                                                               /* of a block, in all: */
  int64_t stage_weights, stage_activations, stage_scales, stage_zeros, stage_padding; /* of one stage */
  int64_t sums, staging, barriers;                                                    /* partial sums (0: in the stages), outputs */
  int64_t bytes_in_flight;                                                            /* of weights, that a block asks for ahead of use */
} billfish_plan_details;
#define BILLFISH_PLAN_DETAILS_INIT \
  { sizeof(billfish_plan_details), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }
BILLFISH_API billfish_status billfish_tools_plan(const billfish_problem* problem, const char* device, const char* implementation,
                                                 billfish_plan_details* out);

/* The index-th piece of work of a block: C[m0..m1, n0..n1] over rows k0..k1 of the weights. *found is 0 if there is no such piece. */
typedef struct billfish_plan_work {
  size_t size;
  int64_t m0, m1, n0, n1, k0, k1;
  int split; /* which part of K */
  int found;
} billfish_plan_work;
#define BILLFISH_PLAN_WORK_INIT \
  { sizeof(billfish_plan_work), 0, 0, 0, 0, 0, 0, 0, 0 }
BILLFISH_API billfish_status billfish_tools_plan_work(const billfish_problem* problem, const char* device, const char* implementation,
                                                      int64_t block, int64_t index, billfish_plan_work* out);

/* ------------------------------------------------------------------------------------------------------ tuning */

/* Every plan that could run the problem, as JSON: "device", and "candidates", a list of {"plan": as a file of tuned plans has it,
 * "workspace_bytes", "chosen": true for the one that the library would pick by itself}. device, implementation, buffer, capacity, length:
 * as for billfish_explain. */
BILLFISH_API billfish_status billfish_tools_candidates(const billfish_problem* problem, const char* device, const char* implementation,
                                                       char* buffer, size_t capacity, size_t* length);
/* From now on this process runs such a problem (its m, n, k, group, types, device, and the two flags about workspace and launch) by that
 * candidate, as if a file had said so; -1: no longer. One at a time, the last one counts. */
BILLFISH_API billfish_status billfish_tools_use_candidate(const billfish_problem* problem, const char* device, const char* implementation,
                                                          int64_t index);

#ifdef __cplusplus
}
#endif
#endif
