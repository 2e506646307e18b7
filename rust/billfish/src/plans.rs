// SPDX-License-Identifier: Apache-2.0
//! Plans that `billfish tune` found: they come before the library's own choice, for the problems and the device that they were found for.

use crate::checkpoint::c_path;
use crate::error::{check, Result};
use std::path::Path;
use std::ptr;

/// Loads a file of plans for the whole process, behind those loaded before. Nothing changes where the file is wrong.
pub fn load_plans(path: impl AsRef<Path>) -> Result<()> {
    let name = c_path(path.as_ref())?;
    // SAFETY: a NUL-terminated string.
    check(unsafe { billfish_sys::billfish_load_plans(name.as_ptr()) })
}

/// Forgets all plans, those of the environment variable `BILLFISH_PLANS` too.
pub fn forget_plans() -> Result<()> {
    // SAFETY: null is what forgets them.
    check(unsafe { billfish_sys::billfish_load_plans(ptr::null()) })
}
