// SPDX-License-Identifier: Apache-2.0
//! What callers of Marlin write by hand: GPTQ codes and scales into Marlin's order, and the permutation itself.

use crate::error::{check, Error, Result};
use crate::host::{groups_of, product, require_length};
use billfish_sys as sys;

/// 4-bit GPTQ codes int32 [k / 8, n] as Marlin bytes, int32 [k / 16, 2 n]. k a multiple of 16, n of 64.
pub fn repack_gptq_to_marlin(qweight: &[i32], k: usize, n: usize) -> Result<Vec<i32>> {
    repack_gptq_to_marlin_bits(qweight, k, n, 4)
}

/// The same for 4 or 8 bits: int32 [k * bits / 32, n] to int32 [k / 16, n * bits / 2].
pub fn repack_gptq_to_marlin_bits(qweight: &[i32], k: usize, n: usize, bits: usize) -> Result<Vec<i32>> {
    if bits != 4 && bits != 8 {
        return Err(Error::invalid(format!("bits is {}; supported are 4 and 8", bits)));
    }
    if k % 16 != 0 || n % 64 != 0 {
        return Err(Error::invalid(format!("k is {} and n is {}; they must be multiples of 16 and 64", k, n)));
    }
    let words = product("qweight", &[k, n])? / (32 / bits);
    require_length("qweight", qweight.len(), words, "k * n * bits / 32")?;
    let mut out = vec![0i32; words];
    // SAFETY: both hold k * n codes of `bits` bits.
    check(unsafe { sys::billfish_repack_gptq_to_marlin(qweight.as_ptr(), out.as_mut_ptr(), k as i64, n as i64, bits as i32) })?;
    Ok(out)
}

/// 16-bit scales [groups, n] (as bits, f16 or bf16 alike) in Marlin's order; group_size -1: the per-column order.
pub fn repack_scales_to_marlin(scales: &[u16], k: usize, n: usize, group_size: i64) -> Result<Vec<u16>> {
    let groups = groups_of(k, group_size)?;
    if k % 16 != 0 || n % 64 != 0 {
        return Err(Error::invalid(format!("k is {} and n is {}; they must be multiples of 16 and 64", k, n)));
    }
    require_length("scales", scales.len(), product("scales", &[groups, n])?, "groups * n")?;
    let mut out = vec![0u16; scales.len()];
    // SAFETY: both hold groups * n elements.
    check(unsafe { sys::billfish_repack_scales_to_marlin(scales.as_ptr(), out.as_mut_ptr(), k as i64, n as i64, group_size) })?;
    Ok(out)
}

/// Where the codes of one 16 x 64 tile go, 4 bits each: packed code `p` (nibble `p % 8` of word `p / 8`) is the tile's code
/// `perm[p]`, counted block by block: `256 * (n / 16) + 16 * k + n % 16`.
///
/// A word holds what one lane feeds the tensor cores from one 16-column block: two rows of k that lie together (b0), eight apart (b1),
/// in two columns eight apart (h).
///
/// ```
/// let perm = billfish::build_marlin_perm();
/// assert_eq!(&perm[..8], &[0, 128, 8, 136, 16, 144, 24, 152]);
/// ```
pub fn build_marlin_perm() -> Vec<usize> {
    (0..1024)
        .map(|p| {
            let (word, nibble) = (p / 8, p % 8);
            let (lane, block) = (word / 4, word % 4);
            let (b0, h, b1) = (nibble / 4, nibble / 2 % 2, nibble % 2);
            let k = 2 * (lane % 4) + b0 + 8 * b1;
            let n = 8 * h + lane / 4;
            256 * block + 16 * k + n
        })
        .collect()
}
