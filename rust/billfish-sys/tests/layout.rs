// SPDX-License-Identifier: Apache-2.0
//! The structs of lib.rs lie as a C compiler lays out the header's: a C program is generated, compiled and asked.
#![cfg(not(miri))]

use billfish_sys::*;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;

/// (struct, size, [(C field, offset)]) of one Rust struct.
type Layout = (&'static str, usize, Vec<(&'static str, usize)>);

macro_rules! layout {
    ($name:ident { $($field:ident => $c_field:expr),* }) => {{
        let value = $name::default();
        let base = &value as *const $name as usize;
        let fields = vec![$(($c_field, std::ptr::addr_of!(value.$field) as usize - base)),*];
        (stringify!($name), std::mem::size_of::<$name>(), fields)
    }};
}

fn layouts() -> Vec<Layout> {
    vec![
        layout!(billfish_parallel { pool => "pool", parallel_for => "parallel_for", user => "user", threads => "threads" }),
        layout!(billfish_matrix { format => "format", type_ => "type", n => "n", k => "k", group => "group", codes => "codes",
            zeros => "zeros", scales => "scales", g_idx => "g_idx", perm => "perm", bias => "bias", scale_type => "scale_type",
            bias_type => "bias_type", codes_bytes => "codes_bytes", zeros_bytes => "zeros_bytes", scales_bytes => "scales_bytes",
            device_kind => "device_kind", device_index => "device_index", reserved => "reserved" }),
        layout!(billfish_weights { type_ => "type", scale_type => "scale_type", n => "n", k => "k", group => "group", codes => "codes",
            scales => "scales", zeros => "zeros", perm => "perm", g_idx => "g_idx", bias => "bias", bias_type => "bias_type",
            flags => "flags", device_kind => "device_kind", device_index => "device_index", global_scale => "global_scale",
            float_zeros => "float_zeros", k_offset => "k_offset", experts => "experts", findings => "findings", reserved => "reserved" }),
        layout!(billfish_packed_sizes { codes => "codes", scales => "scales", zeros => "zeros", perm => "perm", g_idx => "g_idx",
            bias => "bias" }),
        layout!(billfish_gemm_args { m => "m", a => "a", lda => "lda", c => "c", ldc => "ldc", a_type => "a_type", c_type => "c_type",
            precision => "precision", flags => "flags", workspace => "workspace", workspace_bytes => "workspace_bytes",
            implementation => "implementation", parallel => "parallel", reserved => "reserved" }),
        layout!(billfish_implementation_info { name => "name", device_kind => "device_kind", available => "available",
            reason => "reason" }),
        layout!(billfish_layer_info { name => "name", format => "format", type_ => "type", n => "n", k => "k", group => "group",
            act_order => "act_order", zero_points => "zero_points", bias => "bias", type_from_config => "type_from_config",
            scale_type => "scale_type", bytes => "bytes", supported => "supported", reason => "reason", reserved => "reserved" }),
    ]
}

#[test]
fn structs_lie_as_in_the_header() {
    let mut program = String::from("#include <stddef.h>\n#include <stdio.h>\n#include <billfish/billfish.h>\nint main(void) {\n");
    let mut expected = String::new();
    for (name, size, fields) in layouts() {
        writeln!(program, "  printf(\"{0} %zu\\n\", sizeof({0}));", name).unwrap();
        writeln!(expected, "{} {}", name, size).unwrap();
        for (field, offset) in fields {
            writeln!(program, "  printf(\"{0}.{1} %zu\\n\", offsetof({0}, {1}));", name, field).unwrap();
            writeln!(expected, "{}.{} {}", name, field, offset).unwrap();
        }
    }
    program.push_str("  return 0;\n}\n");
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let (source, binary) = (folder.join("layout.c"), folder.join("layout"));
    std::fs::write(&source, program).unwrap();
    let include = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../include");
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_string());
    let compiled = Command::new(compiler).arg("-I").arg(include).arg(&source).arg("-o").arg(&binary).status().unwrap();
    assert!(compiled.success());
    let said = Command::new(binary).output().unwrap();
    assert_eq!(String::from_utf8(said.stdout).unwrap(), expected);
}
