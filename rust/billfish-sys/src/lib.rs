// SPDX-License-Identifier: Apache-2.0
//! include/billfish/billfish.h in Rust, by hand: what the safe crate `billfish` calls. tests/layout.rs compares every struct with the
//! header's, as a C compiler sees it. The header's comments are the documentation.
#![allow(non_camel_case_types)]

use std::os::raw::{c_char, c_int, c_void};

pub type billfish_status = c_int;
pub const BILLFISH_OK: billfish_status = 0;
pub const BILLFISH_INVALID_ARGUMENT: billfish_status = 1;
pub const BILLFISH_BAD_INPUT: billfish_status = 2;
pub const BILLFISH_UNSUPPORTED: billfish_status = 3;
pub const BILLFISH_DEVICE_ERROR: billfish_status = 4;
pub const BILLFISH_OUT_OF_MEMORY: billfish_status = 5;
pub const BILLFISH_WORKSPACE_TOO_SMALL: billfish_status = 6;
pub const BILLFISH_IO_ERROR: billfish_status = 7;
pub const BILLFISH_CANCELLED: billfish_status = 8;
pub const BILLFISH_INTERNAL: billfish_status = 9;

pub type billfish_weight_type = c_int;
pub const BILLFISH_U4B8: billfish_weight_type = 0;
pub const BILLFISH_U4: billfish_weight_type = 1;
pub const BILLFISH_U8B128: billfish_weight_type = 2;
pub const BILLFISH_U8: billfish_weight_type = 3;

pub type billfish_element_type = c_int;
pub const BILLFISH_F32: billfish_element_type = 0;
pub const BILLFISH_F16: billfish_element_type = 1;
pub const BILLFISH_BF16: billfish_element_type = 2;

pub type billfish_device_kind = c_int;
pub const BILLFISH_CPU: billfish_device_kind = 0;
pub const BILLFISH_CUDA: billfish_device_kind = 1;

pub type billfish_format = c_int;
pub const BILLFISH_FORMAT_GPTQ: billfish_format = 0;
pub const BILLFISH_FORMAT_GPTQ_V2: billfish_format = 1;
pub const BILLFISH_FORMAT_AWQ: billfish_format = 2;
pub const BILLFISH_FORMAT_COMPRESSED_TENSORS: billfish_format = 3;
pub const BILLFISH_FORMAT_RAW: billfish_format = 4;
pub const BILLFISH_FORMAT_MARLIN: billfish_format = 5;

pub type billfish_precision = c_int;
pub const BILLFISH_PRECISION_FULL: billfish_precision = 0;
pub const BILLFISH_PRECISION_BF16: billfish_precision = 1;
pub const BILLFISH_PRECISION_INT8: billfish_precision = 2;

pub const BILLFISH_WEIGHTS_BIAS_PERMUTED: u32 = 2;
pub const BILLFISH_GEMM_NO_BIAS: u32 = 1;
pub const BILLFISH_GEMM_BATCH_INVARIANT: u32 = 2;

#[repr(C)]
pub struct billfish_pool {
    _private: [u8; 0],
}
#[repr(C)]
pub struct billfish_checkpoint {
    _private: [u8; 0],
}

pub type billfish_task_fn = Option<unsafe extern "C" fn(task_context: *mut c_void, index: i64)>;
pub type billfish_parallel_for_fn =
    Option<unsafe extern "C" fn(user: *mut c_void, count: i64, task: billfish_task_fn, task_context: *mut c_void)>;

/// Structs begin with their own size; `Default` fills it and zeroes the rest, as the header's _INIT macros do.
macro_rules! sized_default {
    ($name:ident) => {
        impl Default for $name {
            fn default() -> Self {
                // SAFETY: integers, floats and pointers only, for which zero is a value.
                let mut value: Self = unsafe { std::mem::zeroed() };
                value.size = std::mem::size_of::<Self>();
                value
            }
        }
    };
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct billfish_parallel {
    pub size: usize,
    pub pool: *mut billfish_pool,
    pub parallel_for: billfish_parallel_for_fn,
    pub user: *mut c_void,
    pub threads: c_int,
    pub reserved: c_int,
}
sized_default!(billfish_parallel);

#[repr(C)]
#[derive(Clone, Copy)]
pub struct billfish_matrix {
    pub size: usize,
    pub format: billfish_format,
    pub type_: billfish_weight_type,
    pub n: i64,
    pub k: i64,
    pub group: i64,
    pub codes: *const c_void,
    pub zeros: *const c_void,
    pub scales: *const c_void,
    pub g_idx: *const i32,
    pub perm: *const i32,
    pub bias: *const c_void,
    pub scale_type: billfish_element_type,
    pub bias_type: billfish_element_type,
    pub codes_bytes: i64,
    pub zeros_bytes: i64,
    pub scales_bytes: i64,
    pub device_kind: billfish_device_kind,
    pub device_index: c_int,
    pub reserved: [i64; 6],
}
sized_default!(billfish_matrix);

#[repr(C)]
#[derive(Clone, Copy)]
pub struct billfish_weights {
    pub size: usize,
    pub type_: billfish_weight_type,
    pub scale_type: billfish_element_type,
    pub n: i64,
    pub k: i64,
    pub group: i64,
    pub codes: *mut c_void,
    pub scales: *mut c_void,
    pub zeros: *mut c_void,
    pub perm: *mut i32,
    pub g_idx: *mut i32,
    pub bias: *mut c_void,
    pub bias_type: billfish_element_type,
    pub flags: u32,
    pub device_kind: billfish_device_kind,
    pub device_index: c_int,
    pub global_scale: *const c_void,
    pub float_zeros: *const c_void,
    pub k_offset: i64,
    pub experts: i64,
    pub findings: *mut u32,
    pub reserved: [i64; 5],
}
sized_default!(billfish_weights);

#[repr(C)]
#[derive(Clone, Copy)]
pub struct billfish_packed_sizes {
    pub size: usize,
    pub codes: i64,
    pub scales: i64,
    pub zeros: i64,
    pub perm: i64,
    pub g_idx: i64,
    pub bias: i64,
}
sized_default!(billfish_packed_sizes);

#[repr(C)]
#[derive(Clone, Copy)]
pub struct billfish_gemm_args {
    pub size: usize,
    pub m: i64,
    pub a: *const c_void,
    pub lda: i64,
    pub c: *mut c_void,
    pub ldc: i64,
    pub a_type: billfish_element_type,
    pub c_type: billfish_element_type,
    pub precision: billfish_precision,
    pub flags: u32,
    pub workspace: *mut c_void,
    pub workspace_bytes: usize,
    pub implementation: *const c_char,
    pub parallel: *const billfish_parallel,
    pub reserved: [i64; 6],
}
sized_default!(billfish_gemm_args);

#[repr(C)]
#[derive(Clone, Copy)]
pub struct billfish_implementation_info {
    pub size: usize,
    pub name: *const c_char,
    pub device_kind: billfish_device_kind,
    pub available: c_int,
    pub reason: *const c_char,
    pub reserved: [i64; 2],
}
sized_default!(billfish_implementation_info);

#[repr(C)]
#[derive(Clone, Copy)]
pub struct billfish_layer_info {
    pub size: usize,
    pub name: *const c_char,
    pub format: billfish_format,
    pub type_: billfish_weight_type,
    pub n: i64,
    pub k: i64,
    pub group: i64,
    pub act_order: c_int,
    pub zero_points: c_int,
    pub bias: c_int,
    pub type_from_config: c_int,
    pub scale_type: billfish_element_type,
    pub bytes: i64,
    pub supported: c_int,
    pub reason: *const c_char,
    pub reserved: [i64; 4],
}
sized_default!(billfish_layer_info);

extern "C" {
    pub fn billfish_version() -> c_int;
    pub fn billfish_version_string() -> *const c_char;
    pub fn billfish_status_name(status: billfish_status) -> *const c_char;
    pub fn billfish_last_error() -> *const c_char;

    pub fn billfish_pool_create(threads: c_int, out: *mut *mut billfish_pool) -> billfish_status;
    pub fn billfish_pool_destroy(pool: *mut billfish_pool);
    pub fn billfish_pool_threads(pool: *const billfish_pool) -> c_int;

    pub fn billfish_packed_sizes_of(matrix: *const billfish_matrix, out: *mut billfish_packed_sizes) -> billfish_status;
    pub fn billfish_pack(
        matrix: *const billfish_matrix,
        out: *mut billfish_weights,
        parallel: *const billfish_parallel,
        stream: *mut c_void,
    ) -> billfish_status;
    pub fn billfish_dequantize(
        weights: *const billfish_weights,
        out: *mut f32,
        ld: i64,
        parallel: *const billfish_parallel,
    ) -> billfish_status;
    pub fn billfish_repack_gptq_to_marlin(source: *const i32, target: *mut i32, k: i64, n: i64, bits: c_int) -> billfish_status;
    pub fn billfish_repack_scales_to_marlin(source: *const u16, target: *mut u16, k: i64, n: i64, group: i64) -> billfish_status;

    pub fn billfish_gemm(weights: *const billfish_weights, args: *const billfish_gemm_args, stream: *mut c_void) -> billfish_status;
    pub fn billfish_gemm_workspace(
        weights: *const billfish_weights,
        args: *const billfish_gemm_args,
        bytes: *mut usize,
    ) -> billfish_status;
    pub fn billfish_prepare(kind: billfish_device_kind, device_index: c_int) -> billfish_status;

    pub fn billfish_implementation_count() -> c_int;
    pub fn billfish_implementation(index: c_int, out: *mut billfish_implementation_info) -> billfish_status;
    pub fn billfish_load_plans(path: *const c_char) -> billfish_status;

    pub fn billfish_checkpoint_open(path: *const c_char, out: *mut *mut billfish_checkpoint) -> billfish_status;
    pub fn billfish_checkpoint_close(checkpoint: *mut billfish_checkpoint);
    pub fn billfish_checkpoint_format(checkpoint: *const billfish_checkpoint) -> *const c_char;
    pub fn billfish_checkpoint_layers(checkpoint: *const billfish_checkpoint) -> i64;
    pub fn billfish_checkpoint_layer(
        checkpoint: *const billfish_checkpoint,
        index: i64,
        out: *mut billfish_layer_info,
    ) -> billfish_status;
    pub fn billfish_checkpoint_find(checkpoint: *const billfish_checkpoint, name: *const c_char, index: *mut i64) -> billfish_status;
    pub fn billfish_checkpoint_load(checkpoint: *const billfish_checkpoint, index: i64, out: *mut billfish_matrix) -> billfish_status;
}
