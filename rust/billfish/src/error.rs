// SPDX-License-Identifier: Apache-2.0
//! A refused call: its status, and the library's message (which argument, its value, what is supported).

use std::ffi::CStr;
use std::fmt;
use std::os::raw::c_char;

/// Why a call was refused; the statuses of billfish.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// The call is wrong: a size, an option, a contradiction.
    InvalidArgument,
    /// The data is wrong: a missing, truncated or inconsistent file, a non-finite scale.
    BadInput,
    /// Legal, but no implementation here can do it.
    Unsupported,
    /// No such device, or its driver reported an error.
    DeviceError,
    OutOfMemory,
    WorkspaceTooSmall,
    IoError,
    Cancelled,
    /// A defect of the library.
    Internal,
}

impl Status {
    pub(crate) fn of(code: billfish_sys::billfish_status) -> Status {
        match code {
            billfish_sys::BILLFISH_INVALID_ARGUMENT => Status::InvalidArgument,
            billfish_sys::BILLFISH_BAD_INPUT => Status::BadInput,
            billfish_sys::BILLFISH_UNSUPPORTED => Status::Unsupported,
            billfish_sys::BILLFISH_DEVICE_ERROR => Status::DeviceError,
            billfish_sys::BILLFISH_OUT_OF_MEMORY => Status::OutOfMemory,
            billfish_sys::BILLFISH_WORKSPACE_TOO_SMALL => Status::WorkspaceTooSmall,
            billfish_sys::BILLFISH_IO_ERROR => Status::IoError,
            billfish_sys::BILLFISH_CANCELLED => Status::Cancelled,
            _ => Status::Internal,
        }
    }
}

/// What every function here returns when it fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    status: Status,
    message: String,
}

/// `std::result::Result` with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn new(status: Status, message: impl Into<String>) -> Error {
        Error { status, message: message.into() }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Error {
        Error::new(Status::InvalidArgument, message)
    }

    /// Which kind of refusal.
    pub fn status(&self) -> Status {
        self.status
    }

    /// The library's own words.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// SAFETY: null, or a NUL-terminated string that lives as long as `'a`.
pub(crate) unsafe fn text<'a>(pointer: *const c_char) -> &'a str {
    if pointer.is_null() {
        return "";
    }
    CStr::from_ptr(pointer).to_str().unwrap_or("(text that is not UTF-8)")
}

/// The status of a call that this thread has just made, as a Result with the message of that very call.
pub(crate) fn check(status: billfish_sys::billfish_status) -> Result<()> {
    if status == billfish_sys::BILLFISH_OK {
        return Ok(());
    }
    // SAFETY: valid until this thread's next call, and copied before it.
    let message = unsafe { text(billfish_sys::billfish_last_error()) }.to_string();
    Err(Error::new(Status::of(status), message))
}
