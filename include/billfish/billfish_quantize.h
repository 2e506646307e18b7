/* SPDX-License-Identifier: Apache-2.0
 *
 * Quantising: f32, f16 or bf16 weights -> codes, scales and zeros, one matrix at a time or a whole model directory. CPU memory. Part of the
 * same library and of the same conventions as billfish.h; new in 0.1, fields may still change before 1.0. Linear algebra is looked for
 * at run time (OpenBLAS, or any LAPACK): without it round to nearest still works, the rest is BILLFISH_UNSUPPORTED with what to install.
 * The arithmetic may be a CUDA device's (options.device_kind; cuBLAS and cuSOLVER are looked for at run time): the memory that callers see
 * is the CPU's all the same, the device's is allocated and freed within a call.
 * The same input gives the same bits whatever the number of threads, and from run to run on one device; between CPU and device, values
 * that fall on the middle of two codes may go either way (round to nearest without clip: never). Every function may be called from any
 * thread, on distinct outputs.
 */
#ifndef BILLFISH_BILLFISH_QUANTIZE_H
#define BILLFISH_BILLFISH_QUANTIZE_H

#include "billfish/billfish.h"

#ifdef __cplusplus
extern "C" {
#endif

/* --------------------------------------------------------------------------------------------------------- one matrix */

typedef enum billfish_quantize_method {
  BILLFISH_QUANTIZE_RTN = 0,  /* round to nearest */
  BILLFISH_QUANTIZE_GPTQ = 1, /* every column makes up for the rounding of those before it; needs samples */
  BILLFISH_QUANTIZE_AWQ = 2   /* round to nearest after scaling salient channels up (billfish_awq_scales); needs samples */
} billfish_quantize_method;

/* The order in which GPTQ takes the rows of [K,N]. No choice leaves a trace in the checkpoint: no g_idx, no cost at run time. */
typedef enum billfish_act_order {
  BILLFISH_ACT_ORDER_NONE = 0,   /* as they lie */
  BILLFISH_ACT_ORDER_STATIC = 1, /* largest activations first, in groups whose scales were chosen beforehand */
  BILLFISH_ACT_ORDER_GROUP = 2   /* groups by their activations, and so within each group */
} billfish_act_order;

typedef struct billfish_quantize_options {
  size_t size;
  billfish_quantize_method method;
  billfish_weight_type type; /* u4b8, u8b128: symmetric; u4, u8: with zeros */
  int64_t group;             /* codes along K that share a scale; -1: one group */
  billfish_element_type scale_type;
  billfish_act_order act_order;     /* GPTQ; INIT names the static one, which leaves smaller errors than none (docs/quantize.md) */
  int clip;                         /* look for smaller ranges that make the error smaller */
  billfish_device_kind device_kind; /* who does the arithmetic; billfish_awq_scales: always the CPU */
  double damping;                   /* GPTQ: this part of the mean diagonal is added to it; 0: 0.01. Raised until H can be factored */
  uint64_t seed;                    /* draws the tokens that AWQ's search looks at, where there are more than it needs */
  const billfish_parallel* parallel;
  int device_index;
  int reserved_int;
  int64_t reserved[5];
} billfish_quantize_options;
#define BILLFISH_QUANTIZE_OPTIONS_INIT                                                                                        \
  {                                                                                                                           \
    sizeof(billfish_quantize_options), BILLFISH_QUANTIZE_RTN, BILLFISH_U4B8, 128, BILLFISH_F16, BILLFISH_ACT_ORDER_STATIC, 0, \
        BILLFISH_CPU, 0.0, 0u, NULL, 0, 0, {                                                                                  \
      0, 0, 0, 0, 0                                                                                                           \
    }                                                                                                                         \
  }

/* BILLFISH_OK if quantising can be done there; else why not: no such device, an old one, no cuBLAS or cuSOLVER (and what to install). The
 * first answer for a CUDA device takes about a second. */
BILLFISH_API billfish_status billfish_quantize_device(billfish_device_kind device_kind, int device_index);

/* What is known of a layer's inputs: samples, or their second moments, or both (then H is used where it suffices). */
typedef struct billfish_samples {
  size_t size;
  const void* x; /* [tokens, k], or NULL */
  billfish_element_type x_type;
  int reserved_int;
  int64_t tokens;
  int64_t ldx;          /* row stride of x in elements; 0: k */
  const float* hessian; /* [k, k] = 2 / count * sum of x x^T, or NULL */
  int64_t count;        /* tokens that hessian was made of */
  int64_t reserved[4];
} billfish_samples;
#define BILLFISH_SAMPLES_INIT                                                      \
  {                                                                                \
    sizeof(billfish_samples), NULL, BILLFISH_F32, 0, 0, 0, NULL, 0, { 0, 0, 0, 0 } \
  }

/* hessian [k,k] becomes that of `*count` + `tokens` tokens, *count too; begin with *count = 0 (hessian need not be set then).
 * BILLFISH_BAD_INPUT names the first sample that is not finite. */
BILLFISH_API billfish_status billfish_hessian_add(const void* x, billfish_element_type x_type, int64_t tokens, int64_t k, int64_t ldx,
                                                  float* hessian, int64_t* count, const billfish_parallel* parallel);
/* The same, by that device. */
BILLFISH_API billfish_status billfish_hessian_add_on(billfish_device_kind device_kind, int device_index, const void* x,
                                                     billfish_element_type x_type, int64_t tokens, int64_t k, int64_t ldx, float* hessian,
                                                     int64_t* count, const billfish_parallel* parallel);

typedef struct billfish_quantized {
  size_t size;
  uint8_t* codes; /* [k, n] */
  uint8_t* zeros; /* [groups, n] for u4 and u8, else NULL */
  void* scales;   /* [groups, n] of options.scale_type */
  /* Written by the call. Errors are relative, |W - Q| / |W| in the Frobenius norm; of outputs: |X (W - Q)| / |X W|; -1: no samples. */
  double weight_error, output_error;
  double nearest_weight_error, nearest_output_error; /* of plain round to nearest with the same type and group */
  double damping;                                    /* GPTQ: what H needed */
  int64_t dead_columns;                              /* inputs that were zero in every sample: their weights became 0 */
  int64_t clipped_groups;                            /* clip: groups whose range was made smaller */
  int64_t reserved[4];
} billfish_quantized;
#define BILLFISH_QUANTIZED_INIT                                                                     \
  {                                                                                                 \
    sizeof(billfish_quantized), NULL, NULL, NULL, -1.0, -1.0, -1.0, -1.0, 0.0, 0, 0, { 0, 0, 0, 0 } \
  }

/* weights: [n, k] f32, row stride ldw (0: k), as models store a linear layer; codes come out [k, n], as billfish_matrix RAW takes them.
 * AWQ: weights and samples are those that billfish_awq_scales has been applied to. samples: NULL allowed for RTN.
 * BILLFISH_BAD_INPUT: a weight or a sample that is not finite (named), a scale that scale_type cannot hold. */
BILLFISH_API billfish_status billfish_quantize_matrix(const billfish_quantize_options* options, const float* weights, int64_t n, int64_t k,
                                                      int64_t ldw, const billfish_samples* samples, billfish_quantized* out);

/* The scales s [k] by which AWQ multiplies the columns of `count` matrices [n[i], k] that share an input (the input is divided by them):
 * the best of 21 ratios, one of which is s = 1. losses: 21 relative output errors, that of s = 1 first, or NULL; *best: which was taken. */
BILLFISH_API billfish_status billfish_awq_scales(const billfish_quantize_options* options, const float* const* weights, const int64_t* n,
                                                 int64_t count, int64_t k, const billfish_samples* samples, float* scales, double* losses,
                                                 int64_t* best);
#define BILLFISH_AWQ_RATIOS 21

/* ------------------------------------------------------------------------------------------------------------ a model */

/* One finished layer, shown to whoever asked; valid during the call. Of a layer that an interrupted call had finished (resume) the numbers
 * are known, but weights, dequantized, magnitudes, awq_scales, awq_losses and samples are NULL. AWQ: the errors in `quantized` compare
 * with the weights before scaling (of outputs that a later layer's scales divide: as they are then), nearest_* are those of round to
 * nearest without scales. */
typedef struct billfish_quantize_layer {
  size_t size;
  const char* name;
  int64_t n, k, group;
  billfish_weight_type type;
  const billfish_quantized* quantized;
  const float* weights;            /* [n, k] before (AWQ: before its scales) */
  const float* dequantized;        /* [n, k] after, comparable with `weights` (AWQ's scales divided out) */
  const float* magnitudes;         /* [k] mean |x| (or the root of H's diagonal), or NULL without samples */
  const float* awq_scales;         /* [k], or NULL */
  const double* awq_losses;        /* [21], or NULL */
  const billfish_samples* samples; /* what quantised it; held-out tokens are not among them */
  double held_out_error;           /* of outputs on samples kept aside, relative; -1 where there were none */
  double held_out_cosine;          /* mean cosine between the outputs of the two; -2 where there were none */
  double seconds;
  int64_t bytes_before, bytes_after;
  const char* note; /* "", or what a person should know ("too few tokens: round to nearest") */
} billfish_quantize_layer;

typedef struct billfish_quantize_model_options {
  size_t size;
  billfish_quantize_options matrix;
  const char* format;                               /* "marlin", "gptq", "gptq_v2", "awq", "compressed-tensors" */
  const char* calibration;                          /* a safetensors file, docs/quantize.md; NULL only for RTN */
  int (*want_layer)(void* user, const char* layer); /* NULL: every linear layer but embeddings, heads, routers and norms */
  int no_fold; /* AWQ: layers whose scales cannot be folded into what precedes them keep s = 1 instead of being refused */
  int resume;  /* go on with what an interrupted call to the same output has finished */
  int (*progress)(void* user, const char* layer, int64_t bytes_done, int64_t bytes_total); /* non-zero: stop (BILLFISH_CANCELLED) */
  void (*layer_done)(void* user, const billfish_quantize_layer* layer);
  void* user;
  int skip_unsupported; /* layers that the format cannot hold stay as they are instead of being refused */
  int dry_run;          /* look at everything, call layer_planned, write nothing (`out` is not looked at) */
  /* Before any work, for every matrix of a layer: `left` is "" if it will be quantised, else why it stays as it is. NULL: nobody asks. */
  void (*layer_planned)(void* user, const char* layer, int64_t n, int64_t k, const char* left);
  int64_t reserved[4];
} billfish_quantize_model_options;
#define BILLFISH_QUANTIZE_MODEL_OPTIONS_INIT                                                                                         \
  {                                                                                                                                  \
    sizeof(billfish_quantize_model_options), BILLFISH_QUANTIZE_OPTIONS_INIT, NULL, NULL, NULL, 0, 0, NULL, NULL, NULL, 0, 0, NULL, { \
      0, 0, 0, 0                                                                                                                     \
    }                                                                                                                                \
  }

/* `in`: a safetensors file or model directory in f32, f16 or bf16. `out`: a checkpoint directory that readers of `format` load; it appears
 * when it is whole. Layers are taken one after another: memory is bounded by the largest one's needs. Until then finished layers lie in
 * "<out>.unfinished"; an interrupted call leaves them there, and one with `resume` goes on with them if input and options are the same. */
BILLFISH_API billfish_status billfish_quantize_model(const char* in, const char* out, const billfish_quantize_model_options* options);

#ifdef __cplusplus
}
#endif
#endif
