//! Embeds the eBPF object where it was built, and an empty one where it was not.
//!
//! `cargo xtask build` compiles the kernel half with its own tool chain and leaves it in `target/bpf`. A plain
//! `cargo build` must work without that tool chain: the balancer then relays everything in user space.

use std::{env, fs, path::PathBuf};

fn main() {
    let workspace = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("..");
    let built = workspace.join("target/bpf/balancer-ebpf");
    let embedded = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it")).join("balancer-ebpf");

    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={}", built.display());

    let object = fs::read(&built).unwrap_or_else(|e| {
        println!(
            "cargo:warning=no eBPF object ({e}): this build only relays; `cargo xtask build` makes the kernel half"
        );
        Vec::new()
    });
    fs::write(&embedded, object).unwrap_or_else(|e| panic!("{}: {e}", embedded.display()));
}
