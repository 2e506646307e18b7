// SPDX-License-Identifier: Apache-2.0
//! marlin_gemm without the feature `cuda`, and with it on a machine without a GPU: an error that says why, nothing touched.
//! No pointer here is ever read. The pure parts run under Miri too.

use billfish::{build_marlin_perm, is_available, marlin_gemm, MarlinWeight, Status};

#[test]
fn a_call_that_cannot_run_says_why() {
    if cfg!(feature = "cuda") && is_available() {
        return; // tests/gpu.rs is for there
    }
    let weight = MarlinWeight::new(0x1000, 0x2000, 128, 64, 128);
    // SAFETY: refused before any pointer is used.
    let error = unsafe { marlin_gemm(std::ptr::null_mut(), 0x3000, &weight, 0x4000, 1) }.unwrap_err();
    if cfg!(feature = "cuda") {
        assert!(matches!(error.status(), Status::DeviceError | Status::Unsupported), "{:?}: {}", error.status(), error);
        assert!(!error.message().is_empty());
    } else {
        assert_eq!(error.status(), Status::Unsupported);
        assert!(error.message().contains("feature `cuda`"));
        assert!(!is_available());
    }
}

#[test]
fn the_permutation_is_one() {
    let perm = build_marlin_perm();
    let mut seen = vec![false; 1024];
    for source in perm {
        assert!(!seen[source]);
        seen[source] = true;
    }
}

#[test]
fn weights_are_plain_values() {
    let weight = MarlinWeight::new(1, 2, 128, 64, -1);
    let copy = weight;
    assert_eq!(copy, weight);
    assert_eq!(weight.weight_type.bits(), 4);
    assert!(format!("{:?}", weight).contains("qweight: 1"));
}
