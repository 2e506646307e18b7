// SPDX-License-Identifier: Apache-2.0
//! Billfish: `y[M,N] = x[M,K] * dequantised W[K,N] (+ bias)` for weights of 4 or 8 bits in Marlin bytes, over the C library.
//!
//! ```
//! use billfish::{Codes, ElementType, Pool, WeightType};
//!
//! # fn main() -> billfish::Result<()> {
//! let codes = vec![9u8; 128 * 64];                 // (9 - 8) * 0.5 each
//! let scales = vec![0.5f32; 64];
//! let pool = Pool::new(0)?;                        // one thread per core
//! let weight = Codes { k: 128, n: 64, group_size: -1, weight_type: WeightType::U4B8, codes: &codes, zeros: None, scales: &scales[..] }
//!     .pack(Some(&pool))?;
//! let x = vec![1.0f32; 2 * 128];
//! let mut y = vec![0.0f32; 2 * 64];
//! weight.gemm(&x, &mut y, 2, Some(&pool))?;
//! assert_eq!(y[0], 64.0);
//! assert_eq!(weight.scale_type(), ElementType::F32);
//! # Ok(())
//! # }
//! ```
//!
//! Modules: [`error`] statuses and messages, [`element`] f32 and 16-bit types, [`host`] packed weights and products on the CPU,
//! [`device`] products on raw CUDA pointers, [`repack`] what callers of Marlin write by hand, [`checkpoint`] files, [`plans`] that were
//! searched for on a device.
//!
//! # Threads
//!
//! Everything here is `Send` and `Sync`: the C library keeps no state but its pools (one serves one call at a time, a second caller
//! waits), open checkpoints (read-only maps) and loaded plans (a table that is replaced whole), and documents every function used here
//! as callable from any thread. What must not happen at once, destroying a pool or closing a checkpoint that a call uses, borrowing
//! rules out. An error's message is read on the thread whose call failed, before that thread calls again.

pub mod checkpoint;
pub mod device;
pub mod element;
pub mod error;
pub mod host;
pub mod plans;
pub mod repack;

pub use checkpoint::{Checkpoint, Layer};
pub use device::{is_available, marlin_gemm, CUstream, DevicePtr, MarlinWeight};
pub use element::{Bf16, Element, ElementType, F16};
pub use error::{Error, Result, Status};
pub use host::{Codes, HostWeight, PackedWeight, Pool, WeightType};
pub use plans::{forget_plans, load_plans};
pub use repack::{build_marlin_perm, repack_gptq_to_marlin, repack_gptq_to_marlin_bits, repack_scales_to_marlin};

/// The version of the library that is loaded, "0.1.0".
pub fn version() -> &'static str {
    // SAFETY: the string is static and ASCII.
    unsafe { error::text(billfish_sys::billfish_version_string()) }
}
