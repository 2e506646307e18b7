// SPDX-License-Identifier: Apache-2.0
//! Checkpoints on disk, opened through memory maps: list the layers, pack one.

use crate::error::{check, text, Error, Result};
use crate::host::{PackedWeight, Pool, WeightType};
use billfish_sys as sys;
use std::ffi::CString;
use std::path::Path;
use std::ptr;

/// An open checkpoint: GPTQ, AWQ, compressed-tensors or Marlin; a file, a shard index or a directory.
pub struct Checkpoint {
    raw: *mut sys::billfish_checkpoint,
}

// SAFETY: billfish.h lets any thread, and several at once, read an open checkpoint; it is closed by Drop, when nothing borrows it.
unsafe impl Send for Checkpoint {}
unsafe impl Sync for Checkpoint {}

/// What a checkpoint says of one quantised layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    pub name: String,
    pub k: usize,
    pub n: usize,
    /// -1: one group a column.
    pub group_size: i64,
    /// None if this crate does not know the type.
    pub weight_type: Option<WeightType>,
    pub act_order: bool,
    pub bias: bool,
    /// Why it cannot be used; empty if it can.
    pub unsupported: String,
}

/// As the library takes paths.
pub(crate) fn c_path(path: &Path) -> Result<CString> {
    let name = path.to_str().and_then(|name| CString::new(name).ok());
    name.ok_or_else(|| Error::invalid(format!("{} is no path that the library can open: it must be UTF-8 without NUL", path.display())))
}

impl Checkpoint {
    /// Reads headers and configs only.
    pub fn open(path: impl AsRef<Path>) -> Result<Checkpoint> {
        let name = c_path(path.as_ref())?;
        let mut raw = ptr::null_mut();
        // SAFETY: a NUL-terminated string, and a pointer that the call writes.
        check(unsafe { sys::billfish_checkpoint_open(name.as_ptr(), &mut raw) })?;
        Ok(Checkpoint { raw })
    }

    /// "gptq", "awq", "compressed-tensors", "marlin", ...
    pub fn format(&self) -> &str {
        // SAFETY: the string lives as long as the checkpoint.
        unsafe { text(sys::billfish_checkpoint_format(self.raw)) }
    }

    /// The quantised layers.
    pub fn layers(&self) -> Result<Vec<Layer>> {
        // SAFETY: open as long as self.
        let count = unsafe { sys::billfish_checkpoint_layers(self.raw) };
        (0..count).map(|index| self.layer(index)).collect()
    }

    fn layer(&self, index: i64) -> Result<Layer> {
        let mut info = sys::billfish_layer_info::default();
        // SAFETY: `info` is written; its strings live as long as the checkpoint and are copied here.
        unsafe {
            check(sys::billfish_checkpoint_layer(self.raw, index, &mut info))?;
            Ok(Layer {
                name: text(info.name).to_string(),
                k: info.k as usize,
                n: info.n as usize,
                group_size: info.group,
                weight_type: WeightType::of(info.type_),
                act_order: info.act_order != 0,
                bias: info.bias != 0,
                unsupported: if info.supported != 0 { String::new() } else { text(info.reason).to_string() },
            })
        }
    }

    /// One layer, packed into memory of its own: it outlives the checkpoint.
    pub fn pack(&self, name: &str, pool: Option<&Pool>) -> Result<PackedWeight> {
        let c_name = CString::new(name).map_err(|_| Error::invalid("the layer's name has a NUL in it"))?;
        let mut index = 0i64;
        let mut matrix = sys::billfish_matrix::default();
        // SAFETY: the matrix points into the map, which self keeps open during the call.
        unsafe {
            check(sys::billfish_checkpoint_find(self.raw, c_name.as_ptr(), &mut index))?;
            check(sys::billfish_checkpoint_load(self.raw, index, &mut matrix))?;
            PackedWeight::pack(&matrix, pool)
        }
    }
}

impl Drop for Checkpoint {
    fn drop(&mut self) {
        // SAFETY: opened by us, and nothing borrows it any more.
        unsafe { sys::billfish_checkpoint_close(self.raw) }
    }
}

impl std::fmt::Debug for Checkpoint {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Checkpoint({})", self.format())
    }
}
