// SPDX-License-Identifier: Apache-2.0
//! Finds libbillfish: the folder in BILLFISH_LIB_DIR, else pkg-config. Compiles nothing.
//! Tells dependents the folder as DEP_BILLFISH_LIBDIR, so that their programs can find the library when they run.

use std::env;
use std::path::Path;
use std::process::{self, Command};

fn main() {
    println!("cargo:rerun-if-env-changed=BILLFISH_LIB_DIR");
    println!("cargo:rerun-if-env-changed=PKG_CONFIG_PATH");
    println!("cargo:rerun-if-env-changed=DOCS_RS");
    println!("cargo:rustc-link-lib=dylib=billfish");
    if env::var_os("DOCS_RS").is_some() {
        return;
    }
    match find() {
        Ok(folder) => {
            println!("cargo:rustc-link-search=native={}", folder);
            println!("cargo:libdir={}", folder);
        }
        Err(why) => {
            eprintln!("billfish-sys: {}", why);
            process::exit(1);
        }
    }
}

fn find() -> Result<String, String> {
    if let Ok(folder) = env::var("BILLFISH_LIB_DIR") {
        let library = Path::new(&folder).join("libbillfish.so");
        if library.exists() {
            return Ok(folder);
        }
        return Err(format!(
            "BILLFISH_LIB_DIR is {}, but {} does not exist; it must be the folder of libbillfish.so (build/lib of a checkout)",
            folder,
            library.display()
        ));
    }
    let said = Command::new("pkg-config").args(["--variable=libdir", "billfish"]).output();
    if let Ok(output) = &said {
        let folder = String::from_utf8_lossy(&output.stdout).trim().to_string();
        if output.status.success() && !folder.is_empty() {
            return Ok(folder);
        }
    }
    let pkg_config = match said {
        Ok(_) => "pkg-config knows no billfish",
        Err(_) => "there is no pkg-config",
    };
    Err(format!(
        "BILLFISH_LIB_DIR is not set and {}. Either set BILLFISH_LIB_DIR to the folder of libbillfish.so (after `./dev build`: build/lib), \
         or install Billfish (`cmake --install build --prefix P`) and set PKG_CONFIG_PATH to P/lib/pkgconfig",
        pkg_config
    ))
}
