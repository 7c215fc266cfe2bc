//! Links the unwinder into the command, where there is one to link.
//!
//! As a shared library, libgcc_s.so, it is a tenth of the time that it takes to run a pipeline that
//! does nothing: the library is loaded and relocated, and asks the processor what it can do, which
//! in a virtual machine is slow. std names the shared library; it is left out of what the linker
//! makes when everything that is wanted of it is there already, hence "whole archive".

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=CC");
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    // A compiler for this machine knows nothing of another one's libraries. musl has no such library.
    if variable("HOST") != variable("TARGET") || variable("CARGO_CFG_TARGET_ENV") != "gnu" {
        return;
    }
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let asked = Command::new(compiler)
        .arg("-print-file-name=libgcc_eh.a")
        .output();
    let answer = asked.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    // A library that it does not find is told back without a directory.
    let library = answer.unwrap_or_default();
    if let Some(directory) = Path::new(library.trim()).parent()
        && directory.is_absolute()
    {
        println!("cargo:rustc-link-search=native={}", directory.display());
        println!("cargo:rustc-link-lib=static:+whole-archive,-bundle=gcc_eh");
    }
}
