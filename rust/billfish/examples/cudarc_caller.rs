// SPDX-License-Identifier: Apache-2.0
//! A caller in the shape of cudarc or candle: device buffers and a stream of its own, their raw handles given to Billfish.
//!
//! The types in `stand_in` are NOT cudarc's: they are minimal local stand-ins with the same shape (a buffer that tells a `CUdeviceptr`, a
//! stream that tells a `CUstream`), so that this example compiles everywhere. With the real crate, replace the module by
//! `cudarc::driver::{CudaSlice, CudaStream, DevicePtr, DevicePtrMut}` and take the pointers from `device_ptr` and `device_ptr_mut`.

use billfish::{is_available, marlin_gemm, MarlinWeight};

/// Local stand-ins for the device types of cudarc; nothing here talks to a GPU.
mod stand_in {
    use std::marker::PhantomData;
    use std::os::raw::c_void;

    pub struct CudaStream(*mut c_void);

    impl CudaStream {
        pub fn default_stream() -> CudaStream {
            CudaStream(std::ptr::null_mut())
        }
        pub fn cu_stream(&self) -> *mut c_void {
            self.0
        }
    }

    pub struct CudaSlice<T> {
        pointer: u64,
        length: usize,
        element: PhantomData<T>,
    }

    impl<T> CudaSlice<T> {
        pub fn at(pointer: u64, length: usize) -> CudaSlice<T> {
            CudaSlice { pointer, length, element: PhantomData }
        }
        pub fn device_ptr(&self) -> u64 {
            self.pointer
        }
        pub fn len(&self) -> usize {
            self.length
        }
    }
}

use stand_in::{CudaSlice, CudaStream};

/// A quantised linear layer as an engine would hold it.
struct QuantLinear {
    qweight: CudaSlice<i32>,
    scales: CudaSlice<u16>,
    k: usize,
    n: usize,
    group_size: i64,
}

impl QuantLinear {
    fn forward(&self, stream: &CudaStream, x: &CudaSlice<u16>, y: &mut CudaSlice<u16>, m: usize) -> billfish::Result<()> {
        assert_eq!((x.len(), y.len()), (m * self.k, m * self.n), "x is [m, k], y is [m, n]");
        let weight = MarlinWeight::new(self.qweight.device_ptr(), self.scales.device_ptr(), self.k, self.n, self.group_size);
        // SAFETY: the buffers are as long as the shapes say and live until the stream has done the work; y is borrowed mutably.
        unsafe { marlin_gemm(stream.cu_stream(), x.device_ptr(), &weight, y.device_ptr(), m) }
    }
}

fn main() {
    let (m, k, n, group_size) = (4, 128, 64, 128);
    let layer = QuantLinear { qweight: CudaSlice::at(0, k / 16 * 2 * n), scales: CudaSlice::at(0, n), k, n, group_size };
    let (x, mut y) = (CudaSlice::at(0, m * k), CudaSlice::at(0, m * n));
    println!("billfish {}, a GPU can be used: {}", billfish::version(), is_available());
    // The stand-ins hold no memory, so the call must be refused: without the feature `cuda` as such, with it because of null pointers.
    match layer.forward(&CudaStream::default_stream(), &x, &mut y, m) {
        Ok(()) => panic!("null device pointers were accepted"),
        Err(error) => println!("as expected: {} ({:?})", error, error.status()),
    }
}
