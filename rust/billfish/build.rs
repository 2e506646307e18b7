// SPDX-License-Identifier: Apache-2.0
//! Lets this package's tests and examples find the library that billfish-sys linked, where it was found, and tells the packages that
//! depend on this one the folder as DEP_BILLFISH_CRATE_LIBDIR (DEP_BILLFISH_LIBDIR reaches only those that depend on billfish-sys).

fn main() {
    if let Ok(folder) = std::env::var("DEP_BILLFISH_LIBDIR") {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{}", folder);
        println!("cargo:libdir={}", folder);
    }
}
