// SPDX-License-Identifier: Apache-2.0
//! Products on CUDA memory that the caller owns: raw device pointers and a raw stream, as cudarc and candle hold them.

use crate::element::ElementType;
use crate::error::Result;
use crate::host::WeightType;
use std::os::raw::c_void;

/// A `CUstream` (or `cudaStream_t`); null is the default stream.
pub type CUstream = *mut c_void;
/// A `CUdeviceptr`; 0 is none.
pub type DevicePtr = u64;

/// Marlin weights in device memory. Plain numbers: nothing is owned, nothing is freed, and the struct may go to any thread; whoever
/// calls [`marlin_gemm`] promises that the memory is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarlinWeight {
    /// int32 [padded k / 16, padded n * bits / 2], aligned to 16 bytes.
    pub qweight: DevicePtr,
    /// [groups, padded n], permuted.
    pub scales: DevicePtr,
    /// int32 [groups, padded n * bits / 32] for U4 and U8; 0 otherwise.
    pub zeros: DevicePtr,
    /// int32 [k] with activation order, else 0.
    pub perm: DevicePtr,
    /// int32 [k], sorted, with uneven groups, else 0.
    pub g_idx: DevicePtr,
    /// [n], or 0.
    pub bias: DevicePtr,
    /// Scratch memory of the stream's own, or 0: some shapes are slower without. Never shared by streams that run at once.
    pub workspace: DevicePtr,
    pub workspace_bytes: usize,
    pub k: usize,
    pub n: usize,
    /// Codes along k that share a scale; -1: one group.
    pub group_size: i64,
    pub weight_type: WeightType,
    pub scale_type: ElementType,
    pub bias_type: ElementType,
    /// Of activations and outputs: F16 or BF16.
    pub element_type: ElementType,
    /// The device's index.
    pub device: i32,
}

impl MarlinWeight {
    /// Symmetric 4-bit weights with f16 scales and activations on device 0, and nothing optional.
    pub fn new(qweight: DevicePtr, scales: DevicePtr, k: usize, n: usize, group_size: i64) -> MarlinWeight {
        MarlinWeight {
            qweight,
            scales,
            zeros: 0,
            perm: 0,
            g_idx: 0,
            bias: 0,
            workspace: 0,
            workspace_bytes: 0,
            k,
            n,
            group_size,
            weight_type: WeightType::U4B8,
            scale_type: ElementType::F16,
            bias_type: ElementType::F16,
            element_type: ElementType::F16,
            device: 0,
        }
    }
}

/// Whether [`marlin_gemm`] can run here: the feature `cuda`, a library with the CUDA backend, and a device it knows.
pub fn is_available() -> bool {
    #[cfg(feature = "cuda")]
    {
        use billfish_sys as sys;
        // SAFETY: plain queries; the struct is written by the call.
        unsafe {
            (0..sys::billfish_implementation_count()).any(|index| {
                let mut info = sys::billfish_implementation_info::default();
                sys::billfish_implementation(index, &mut info) == sys::BILLFISH_OK
                    && info.device_kind == sys::BILLFISH_CUDA
                    && info.available != 0
            })
        }
    }
    #[cfg(not(feature = "cuda"))]
    {
        false
    }
}

/// output [m, n] = input [m, k] * W (+ bias), enqueued on `stream`: no allocation, no synchronisation, capturable in a graph.
///
/// Without the feature `cuda` it returns an error and touches nothing.
///
/// # Safety
///
/// Every pointer must be to memory of `weight.device` of the documented size, valid until the work on `stream` is done; `output` and the
/// workspace must not be in use by anything else meanwhile.
pub unsafe fn marlin_gemm(stream: CUstream, input: DevicePtr, weight: &MarlinWeight, output: DevicePtr, m: usize) -> Result<()> {
    #[cfg(feature = "cuda")]
    {
        use crate::error::check;
        use billfish_sys as sys;
        crate::host::groups_of(weight.k, weight.group_size)?;
        let weights = sys::billfish_weights {
            type_: weight.weight_type.code(),
            scale_type: weight.scale_type.code(),
            n: weight.n as i64,
            k: weight.k as i64,
            group: weight.group_size,
            codes: weight.qweight as *mut c_void,
            scales: weight.scales as *mut c_void,
            zeros: weight.zeros as *mut c_void,
            perm: weight.perm as *mut i32,
            g_idx: weight.g_idx as *mut i32,
            bias: weight.bias as *mut c_void,
            bias_type: weight.bias_type.code(),
            device_kind: sys::BILLFISH_CUDA,
            device_index: weight.device,
            ..Default::default()
        };
        let args = sys::billfish_gemm_args {
            m: m as i64,
            a: input as *const c_void,
            lda: weights.k,
            c: output as *mut c_void,
            ldc: weights.n,
            a_type: weight.element_type.code(),
            c_type: weight.element_type.code(),
            workspace: weight.workspace as *mut c_void,
            workspace_bytes: weight.workspace_bytes,
            ..Default::default()
        };
        check(sys::billfish_gemm(&weights, &args, stream))
    }
    #[cfg(not(feature = "cuda"))]
    {
        let _ = (stream, input, weight, output, m);
        Err(crate::Error::new(
            crate::Status::Unsupported,
            "marlin_gemm: the crate was built without the feature `cuda`; add features = [\"cuda\"] to the dependency on billfish",
        ))
    }
}
