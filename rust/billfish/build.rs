// SPDX-License-Identifier: Apache-2.0
//! Lets this package's tests and examples find the library that billfish-sys linked, where it was found.

fn main() {
    if let Ok(folder) = std::env::var("DEP_BILLFISH_LIBDIR") {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{}", folder);
    }
}
