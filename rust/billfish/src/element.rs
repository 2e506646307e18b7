// SPDX-License-Identifier: Apache-2.0
//! The types of activations, outputs and scales: f32, and 16-bit ones as bits. With the feature `half`, that crate's types too.

/// An element type by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElementType {
    F32,
    F16,
    BF16,
}

impl ElementType {
    pub(crate) fn code(self) -> billfish_sys::billfish_element_type {
        match self {
            ElementType::F32 => billfish_sys::BILLFISH_F32,
            ElementType::F16 => billfish_sys::BILLFISH_F16,
            ElementType::BF16 => billfish_sys::BILLFISH_BF16,
        }
    }

    pub(crate) fn of(code: billfish_sys::billfish_element_type) -> ElementType {
        match code {
            billfish_sys::BILLFISH_F16 => ElementType::F16,
            billfish_sys::BILLFISH_BF16 => ElementType::BF16,
            _ => ElementType::F32,
        }
    }
}

/// IEEE half precision, as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct F16(pub u16);

/// The upper half of an f32, as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Bf16(pub u16);

/// A type that slices of activations, outputs and scales may have.
///
/// # Safety
///
/// The type's size and bytes must be those of `TYPE`, and every bit pattern a value: the library writes through pointers to it.
pub unsafe trait Element: Copy + Send + Sync + 'static {
    const TYPE: ElementType;
}

// SAFETY: the library's f32 is IEEE single precision, as Rust's; the others are 16 bits wide and transparent.
unsafe impl Element for f32 {
    const TYPE: ElementType = ElementType::F32;
}
unsafe impl Element for F16 {
    const TYPE: ElementType = ElementType::F16;
}
unsafe impl Element for Bf16 {
    const TYPE: ElementType = ElementType::BF16;
}
#[cfg(feature = "half")]
unsafe impl Element for half::f16 {
    const TYPE: ElementType = ElementType::F16;
}
#[cfg(feature = "half")]
unsafe impl Element for half::bf16 {
    const TYPE: ElementType = ElementType::BF16;
}
