// SPDX-License-Identifier: Apache-2.0
//! Packed weights in host memory, and products on the CPU. Slices are checked against the shapes before the library sees a pointer.

use crate::element::{Element, ElementType};
use crate::error::{check, Error, Result};
use billfish_sys as sys;
use std::ffi::c_void;
use std::ptr;

/// How codes are stored: with an implicit zero point (U4B8: 8, U8B128: 128) or stored ones (U4, U8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightType {
    U4B8,
    U4,
    U8B128,
    U8,
}

impl WeightType {
    pub(crate) fn code(self) -> sys::billfish_weight_type {
        match self {
            WeightType::U4B8 => sys::BILLFISH_U4B8,
            WeightType::U4 => sys::BILLFISH_U4,
            WeightType::U8B128 => sys::BILLFISH_U8B128,
            WeightType::U8 => sys::BILLFISH_U8,
        }
    }

    pub(crate) fn of(code: sys::billfish_weight_type) -> Option<WeightType> {
        match code {
            sys::BILLFISH_U4B8 => Some(WeightType::U4B8),
            sys::BILLFISH_U4 => Some(WeightType::U4),
            sys::BILLFISH_U8B128 => Some(WeightType::U8B128),
            sys::BILLFISH_U8 => Some(WeightType::U8),
            _ => None,
        }
    }

    /// Bits of one code.
    pub fn bits(self) -> usize {
        match self {
            WeightType::U4B8 | WeightType::U4 => 4,
            WeightType::U8B128 | WeightType::U8 => 8,
        }
    }

    /// Whether zero points are stored.
    pub fn has_zeros(self) -> bool {
        matches!(self, WeightType::U4 | WeightType::U8)
    }
}

/// How many groups `k` codes make; `group_size` -1, or `k` and more: one.
pub(crate) fn groups_of(k: usize, group_size: i64) -> Result<usize> {
    if group_size == 0 || group_size < -1 {
        return Err(Error::invalid(format!("group_size is {}; it must be -1 (one group) or a positive number of codes", group_size)));
    }
    if group_size == -1 || group_size as usize >= k {
        return Ok(1);
    }
    let group = group_size as usize;
    Ok((k + group - 1) / group)
}

pub(crate) fn product(name: &str, factors: &[usize]) -> Result<usize> {
    let mut all = 1usize;
    for factor in factors {
        all = match all.checked_mul(*factor) {
            Some(value) if value <= isize::MAX as usize / 8 => value,
            _ => return Err(Error::invalid(format!("{} would have more elements than memory can hold", name))),
        };
    }
    Ok(all)
}

pub(crate) fn require_length(name: &str, length: usize, wanted: usize, shape: &str) -> Result<()> {
    if length == wanted {
        return Ok(());
    }
    Err(Error::invalid(format!("{} has {} elements; it must have {}, {}", name, length, wanted, shape)))
}

fn round_up(value: usize, step: usize) -> usize {
    (value + step - 1) / step * step
}

/// Threads for CPU work. One pool serves one call at a time; a second caller waits.
pub struct Pool {
    raw: *mut sys::billfish_pool,
}

// SAFETY: billfish.h lets any thread use a pool, and several at once; destroying it needs `&mut`-like ownership, which Drop has.
unsafe impl Send for Pool {}
unsafe impl Sync for Pool {}

impl Pool {
    /// `threads` counts the calling thread; 0: one per core that this process may use.
    pub fn new(threads: usize) -> Result<Pool> {
        let mut raw = ptr::null_mut();
        let count = i32::try_from(threads).map_err(|_| Error::invalid(format!("threads is {}; it is too many", threads)))?;
        // SAFETY: `raw` is written by the call.
        check(unsafe { sys::billfish_pool_create(count, &mut raw) })?;
        Ok(Pool { raw })
    }

    /// How many threads, the calling one included.
    pub fn threads(&self) -> usize {
        // SAFETY: the pool lives as long as self.
        unsafe { sys::billfish_pool_threads(self.raw) as usize }
    }

    fn parallel(pool: Option<&Pool>) -> sys::billfish_parallel {
        sys::billfish_parallel { pool: pool.map_or(ptr::null_mut(), |pool| pool.raw), ..Default::default() }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: created by us, and no call can be using it: each borrows it.
        unsafe { sys::billfish_pool_destroy(self.raw) }
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Pool({} threads)", self.threads())
    }
}

/// 64-byte aligned memory; codes must lie at 16.
struct Aligned {
    pointer: *mut c_void,
    layout: Option<std::alloc::Layout>,
}

impl Aligned {
    fn new(bytes: usize) -> Result<Aligned> {
        if bytes == 0 {
            return Ok(Aligned { pointer: ptr::null_mut(), layout: None });
        }
        let layout = std::alloc::Layout::from_size_align(bytes, 64)
            .map_err(|_| Error::new(crate::Status::OutOfMemory, format!("no memory for {} bytes", bytes)))?;
        // SAFETY: the size is not zero. Zeroed, so that views of it never show uninitialised memory.
        let pointer = unsafe { std::alloc::alloc_zeroed(layout) };
        if pointer.is_null() {
            return Err(Error::new(crate::Status::OutOfMemory, format!("no memory for {} bytes", bytes)));
        }
        Ok(Aligned { pointer: pointer.cast(), layout: Some(layout) })
    }
}

impl Drop for Aligned {
    fn drop(&mut self) {
        if let Some(layout) = self.layout {
            // SAFETY: allocated with this layout.
            unsafe { std::alloc::dealloc(self.pointer.cast(), layout) }
        }
    }
}

// SAFETY: plain memory with one owner.
unsafe impl Send for Aligned {}
unsafe impl Sync for Aligned {}

/// Plain codes, one a byte: `codes` [k, n], `zeros` [groups, n] for U4 and U8, `scales` [groups, n], all row-major.
#[derive(Clone, Copy, Debug)]
pub struct Codes<'a, S: Element> {
    pub k: usize,
    pub n: usize,
    /// Codes along k that share a scale; -1: one group.
    pub group_size: i64,
    pub weight_type: WeightType,
    pub codes: &'a [u8],
    pub zeros: Option<&'a [u8]>,
    pub scales: &'a [S],
}

impl<'a, S: Element> Codes<'a, S> {
    /// Marlin bytes that the result owns.
    pub fn pack(&self, pool: Option<&Pool>) -> Result<PackedWeight> {
        let groups = groups_of(self.k, self.group_size)?;
        require_length("codes", self.codes.len(), product("codes", &[self.k, self.n])?, "k * n")?;
        require_length("scales", self.scales.len(), product("scales", &[groups, self.n])?, "groups * n")?;
        if self.weight_type.has_zeros() != self.zeros.is_some() {
            let rule = if self.weight_type.has_zeros() { "U4 and U8 store zero points" } else { "U4B8 and U8B128 have none" };
            return Err(Error::invalid(format!("zeros is {}; {}", if self.zeros.is_some() { "given" } else { "missing" }, rule)));
        }
        if let Some(zeros) = self.zeros {
            require_length("zeros", zeros.len(), groups * self.n, "groups * n")?;
        }
        let matrix = sys::billfish_matrix {
            format: sys::BILLFISH_FORMAT_RAW,
            type_: self.weight_type.code(),
            n: self.n as i64,
            k: self.k as i64,
            group: self.group_size,
            codes: self.codes.as_ptr().cast(),
            zeros: self.zeros.map_or(ptr::null(), |zeros| zeros.as_ptr().cast()),
            scales: self.scales.as_ptr().cast(),
            scale_type: S::TYPE.code(),
            ..Default::default()
        };
        // SAFETY: every pointer is to a slice whose length was checked against the shape.
        unsafe { PackedWeight::pack(&matrix, pool) }
    }
}

/// Packed weights that own their memory.
pub struct PackedWeight {
    raw: sys::billfish_weights,
    weight_type: WeightType,
    _parts: [Aligned; 6],
}

// SAFETY: the pointers are to memory that it owns, written only while it is made; products read it.
unsafe impl Send for PackedWeight {}
unsafe impl Sync for PackedWeight {}

impl PackedWeight {
    /// SAFETY: the matrix's pointers must be to host memory of its shapes, valid during the call.
    pub(crate) unsafe fn pack(matrix: &sys::billfish_matrix, pool: Option<&Pool>) -> Result<PackedWeight> {
        let mut sizes = sys::billfish_packed_sizes::default();
        check(sys::billfish_packed_sizes_of(matrix, &mut sizes))?;
        let parts = [
            Aligned::new(sizes.codes as usize)?,
            Aligned::new(sizes.scales as usize)?,
            Aligned::new(sizes.zeros as usize)?,
            Aligned::new(sizes.perm as usize)?,
            Aligned::new(sizes.g_idx as usize)?,
            Aligned::new(sizes.bias as usize)?,
        ];
        let mut raw = sys::billfish_weights {
            codes: parts[0].pointer,
            scales: parts[1].pointer,
            zeros: parts[2].pointer,
            perm: parts[3].pointer.cast(),
            g_idx: parts[4].pointer.cast(),
            bias: parts[5].pointer,
            ..Default::default()
        };
        check(sys::billfish_pack(matrix, &mut raw, &Pool::parallel(pool), ptr::null_mut()))?;
        let weight_type = WeightType::of(raw.type_)
            .ok_or_else(|| Error::new(crate::Status::Unsupported, format!("weight type {} is newer than this crate", raw.type_)))?;
        Ok(PackedWeight { raw, weight_type, _parts: parts })
    }

    /// Input features.
    pub fn k(&self) -> usize {
        self.raw.k as usize
    }

    /// Output features.
    pub fn n(&self) -> usize {
        self.raw.n as usize
    }

    /// How codes are stored.
    pub fn weight_type(&self) -> WeightType {
        self.weight_type
    }

    /// The scales' type.
    pub fn scale_type(&self) -> ElementType {
        ElementType::of(self.raw.scale_type)
    }

    /// The packed codes, int32 [padded k / 16, padded n * bits / 2].
    pub fn codes(&self) -> &[i32] {
        let words = round_up(self.k(), 16) / 16 * round_up(self.n(), 64) * self.weight_type.bits() / 2;
        // SAFETY: that many words were allocated and written.
        unsafe { std::slice::from_raw_parts(self.raw.codes as *const i32, words) }
    }

    /// y [m, n] = x [m, k] * W (+ bias).
    pub fn gemm<A: Element, C: Element>(&self, x: &[A], y: &mut [C], m: usize, pool: Option<&Pool>) -> Result<()> {
        // SAFETY: the weights point to memory that self owns.
        unsafe { gemm(&self.raw, x, y, m, pool) }
    }

    /// scale * (code - zero), [k, n] in original row order.
    pub fn dequantize(&self, pool: Option<&Pool>) -> Result<Vec<f32>> {
        let mut out = vec![0.0f32; product("the result", &[self.k(), self.n()])?];
        // SAFETY: `out` has k * n elements, rows of n.
        check(unsafe { sys::billfish_dequantize(&self.raw, out.as_mut_ptr(), self.raw.n, &Pool::parallel(pool)) })?;
        Ok(out)
    }
}

/// Weights that lie packed in somebody's slices: `qweight` int32 [k / 16, n * bits / 2], `scales` [groups, n] permuted,
/// `zeros` int32 [groups, n * bits / 32]. k a multiple of 16, n of 64; no activation order.
#[derive(Clone, Copy, Debug)]
pub struct HostWeight<'a, S: Element> {
    pub qweight: &'a [i32],
    pub scales: &'a [S],
    pub zeros: Option<&'a [i32]>,
    pub k: usize,
    pub n: usize,
    pub group_size: i64,
    pub weight_type: WeightType,
}

impl<'a, S: Element> HostWeight<'a, S> {
    /// y [m, n] = x [m, k] * W, without copying the weights. `qweight` must be aligned to 16 bytes.
    pub fn gemm<A: Element, C: Element>(&self, x: &[A], y: &mut [C], m: usize, pool: Option<&Pool>) -> Result<()> {
        if self.k == 0 || self.k % 16 != 0 || self.n == 0 || self.n % 64 != 0 {
            return Err(Error::invalid(format!("k is {} and n is {}; they must be multiples of 16 and 64", self.k, self.n)));
        }
        let groups = groups_of(self.k, self.group_size)?;
        let bits = self.weight_type.bits();
        require_length("qweight", self.qweight.len(), product("qweight", &[self.k / 16, self.n * bits / 2])?, "k / 16 * n * bits / 2")?;
        require_length("scales", self.scales.len(), product("scales", &[groups, self.n])?, "groups * n")?;
        if self.weight_type.has_zeros() != self.zeros.is_some() {
            return Err(Error::invalid("zeros must be given for U4 and U8, and for them only"));
        }
        if let Some(zeros) = self.zeros {
            require_length("zeros", zeros.len(), groups * self.n * bits / 32, "groups * n * bits / 32")?;
        }
        let raw = sys::billfish_weights {
            type_: self.weight_type.code(),
            scale_type: S::TYPE.code(),
            n: self.n as i64,
            k: self.k as i64,
            group: self.group_size,
            codes: self.qweight.as_ptr() as *mut c_void, // only read
            scales: self.scales.as_ptr() as *mut c_void,
            zeros: self.zeros.map_or(ptr::null_mut(), |zeros| zeros.as_ptr() as *mut c_void),
            ..Default::default()
        };
        // SAFETY: every pointer is to a slice whose length was checked against the shape.
        unsafe { gemm(&raw, x, y, m, pool) }
    }
}

/// SAFETY: the weights' pointers must be to host memory of their shapes, valid during the call.
unsafe fn gemm<A: Element, C: Element>(
    weights: &sys::billfish_weights,
    x: &[A],
    y: &mut [C],
    m: usize,
    pool: Option<&Pool>,
) -> Result<()> {
    let (k, n) = (weights.k as usize, weights.n as usize);
    require_length("x", x.len(), product("x", &[m, k])?, "m * k")?;
    require_length("y", y.len(), product("y", &[m, n])?, "m * n")?;
    let parallel = Pool::parallel(pool);
    let mut args = sys::billfish_gemm_args {
        m: m as i64,
        a: x.as_ptr().cast(),
        lda: weights.k,
        c: y.as_mut_ptr().cast(),
        ldc: weights.n,
        a_type: A::TYPE.code(),
        c_type: C::TYPE.code(),
        parallel: &parallel,
        ..Default::default()
    };
    let mut bytes = 0usize;
    check(sys::billfish_gemm_workspace(weights, &args, &mut bytes))?;
    let workspace = Aligned::new(bytes)?;
    args.workspace = workspace.pointer;
    args.workspace_bytes = bytes;
    check(sys::billfish_gemm(weights, &args, ptr::null_mut()))
}
