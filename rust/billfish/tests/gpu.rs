// SPDX-License-Identifier: Apache-2.0
//! marlin_gemm on a GPU, as a caller of Marlin would use it: GPTQ codes and scales repacked, copied to the device, multiplied on a stream.
//! Values are small integers and powers of two, so that the device's bits must be the CPU's. Where there is no GPU, or a library without
//! CUDA, the same test holds that the crate says so; `./dev gpu tests` sets BILLFISH_NEEDS_GPU, and then there must be one.
#![cfg(all(feature = "cuda", not(miri)))]

use billfish::{is_available, marlin_gemm, repack_gptq_to_marlin, repack_scales_to_marlin, HostWeight, MarlinWeight, WeightType, F16};
use std::os::raw::{c_int, c_void};

// The test's own way to device memory; programs have cudarc or the like for it. Kinds of copies: 0 to the device, 1 from it.
extern "C" {
    fn billfish_tools_cuda_allocate(device: c_int, bytes: usize, out: *mut *mut c_void) -> c_int;
    fn billfish_tools_cuda_free(device: c_int, memory: *mut c_void);
    fn billfish_tools_cuda_copy(device: c_int, target: *mut c_void, source: *const c_void, bytes: usize, kind: c_int) -> c_int;
    fn billfish_tools_cuda_stream_create(device: c_int, stream: *mut *mut c_void) -> c_int;
    fn billfish_tools_cuda_stream_destroy(device: c_int, stream: *mut c_void);
    fn billfish_tools_cuda_synchronize(device: c_int) -> c_int;
}

/// Memory of device 0.
struct Buffer(*mut c_void, usize);

impl Buffer {
    fn of<T: Copy>(values: &[T]) -> Buffer {
        let bytes = std::mem::size_of_val(values);
        let mut memory = std::ptr::null_mut();
        // SAFETY: the slice has that many bytes, and so has the memory.
        unsafe {
            assert_eq!(billfish_tools_cuda_allocate(0, bytes, &mut memory), 0);
            assert_eq!(billfish_tools_cuda_copy(0, memory, values.as_ptr().cast(), bytes, 0), 0);
        }
        Buffer(memory, bytes)
    }
    fn read(&self) -> Vec<u16> {
        let mut values = vec![0u16; self.1 / 2];
        // SAFETY: both have that many bytes.
        assert_eq!(unsafe { billfish_tools_cuda_copy(0, values.as_mut_ptr().cast(), self.0, self.1, 1) }, 0);
        values
    }
    fn address(&self) -> u64 {
        self.0 as u64
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: allocated by `of`, and nothing uses it any more: every test synchronises.
        unsafe { billfish_tools_cuda_free(0, self.0) }
    }
}

/// f16 bits of -2, -1, 0, 1, 2, and of 1/16, 1/8, 1/4.
const SMALL: [u16; 5] = [0xc000, 0xbc00, 0x0000, 0x3c00, 0x4000];
const POWERS: [u16; 3] = [0x2c00, 0x3000, 0x3400];
const POISON: u16 = 0x7e55; // a NaN that no product gives

fn numbers(count: usize, seed: u32) -> impl Iterator<Item = u32> {
    let mut state = seed;
    (0..count).map(move |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 8
    })
}

fn here() -> bool {
    if is_available() {
        return true;
    }
    assert!(std::env::var_os("BILLFISH_NEEDS_GPU").is_none(), "no GPU that the library can use, and there must be one");
    let weight = MarlinWeight::new(0x1000, 0x2000, 128, 64, 128);
    // SAFETY: refused before any pointer is used.
    let error = unsafe { marlin_gemm(std::ptr::null_mut(), 0x3000, &weight, 0x4000, 1) }.unwrap_err();
    assert!(!error.message().is_empty());
    false
}

#[test]
fn products_on_a_gpu_have_the_bits_of_the_cpu() {
    if !here() {
        return;
    }
    for &(k, n, group) in &[(256usize, 128usize, 128i64), (512, 192, -1), (1024, 256, 64)] {
        let groups = if group < 0 { 1 } else { k / group as usize };
        let qweight: Vec<i32> = numbers(k / 8 * n, 1).zip(numbers(k / 8 * n, 2)).map(|(a, b)| (a << 16 | b & 0xffff) as i32).collect();
        let scales: Vec<u16> = numbers(groups * n, 3).map(|v| POWERS[v as usize % 3]).collect();
        let qweight = repack_gptq_to_marlin(&qweight, k, n).unwrap();
        let scales: Vec<F16> = repack_scales_to_marlin(&scales, k, n, group).unwrap().into_iter().map(F16).collect();
        let host =
            HostWeight { qweight: &qweight, scales: &scales[..], zeros: None, k, n, group_size: group, weight_type: WeightType::U4B8 };
        let (device_weight, device_scales, workspace) = (Buffer::of(&qweight), Buffer::of(&scales), Buffer::of(&vec![0u8; 1 << 22]));
        let mut weight = MarlinWeight::new(device_weight.address(), device_scales.address(), k, n, group);
        let mut stream = std::ptr::null_mut();
        // SAFETY: plain calls.
        assert_eq!(unsafe { billfish_tools_cuda_stream_create(0, &mut stream) }, 0);
        for &m in &[1usize, 3, 16, 70] {
            let x: Vec<F16> = numbers(m * k, 4).map(|v| F16(SMALL[v as usize % 5])).collect();
            let mut expected = vec![F16(0); m * n];
            host.gemm(&x, &mut expected, m, None).unwrap();
            let input = Buffer::of(&x);
            for &(with_workspace, on) in &[(false, std::ptr::null_mut()), (true, stream)] {
                weight.workspace = if with_workspace { workspace.address() } else { 0 };
                weight.workspace_bytes = if with_workspace { workspace.1 } else { 0 };
                let output = Buffer::of(&vec![POISON; m * n]);
                // SAFETY: every buffer has its documented size and outlives the synchronisation.
                unsafe {
                    marlin_gemm(on, input.address(), &weight, output.address(), m).unwrap();
                    assert_eq!(billfish_tools_cuda_synchronize(0), 0);
                }
                let found: Vec<F16> = output.read().into_iter().map(F16).collect();
                assert!(found == expected, "k={} n={} group={} m={} workspace={}", k, n, group, m, with_workspace);
            }
        }
        // SAFETY: made above, idle.
        unsafe { billfish_tools_cuda_stream_destroy(0, stream) };
    }
}

#[test]
fn a_call_without_memory_on_a_gpu_is_refused() {
    if !here() {
        return;
    }
    let weight = MarlinWeight::new(0, 0, 128, 64, 128);
    // SAFETY: refused before any pointer is used.
    let error = unsafe { marlin_gemm(std::ptr::null_mut(), 0, &weight, 0, 1) }.unwrap_err();
    assert_eq!(error.status(), billfish::Status::InvalidArgument, "{}", error);
}
