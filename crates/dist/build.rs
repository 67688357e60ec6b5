//! Compiles the binding of c10d against the headers of the libtorch that `torch-sys` links.

fn main() {
    println!("cargo:rustc-check-cfg=cfg(c10d)");
    println!("cargo:rerun-if-changed=csrc");
    #[cfg(feature = "c10d")]
    compile();
}

#[cfg(feature = "c10d")]
fn compile() {
    let of_target = |name: &str| std::env::var(name).unwrap_or_default();
    if of_target("CARGO_CFG_TARGET_OS") != "linux" {
        return;
    }
    let libraries = std::path::PathBuf::from(of_target("DEP_TCH_LIBTORCH_LIB"));
    let headers = libraries.with_file_name("include");
    let mut build = cc::Build::new();
    #[cfg(feature = "nccl")]
    if !with_nccl(&mut build, &libraries) {
        return;
    }
    build
        .cpp(true)
        .std("c++17")
        .pic(true)
        .warnings(false)
        .define("USE_C10D_GLOO", None)
        .include("csrc")
        .include(&headers)
        .include(headers.join("torch/csrc/api/include"))
        .file("csrc/group.cpp")
        .compile("dist_c10d");
    println!("cargo:rustc-cfg=c10d");
}

/// Adds NCCL, which is in the CUDA half of libtorch; whether libtorch has that.
#[cfg(feature = "nccl")]
fn with_nccl(build: &mut cc::Build, libraries: &std::path::Path) -> bool {
    use std::path::{Path, PathBuf};

    if !libraries.join("libtorch_cuda.so").is_file() {
        let place = libraries.display();
        println!(
            "cargo::error=the feature `nccl` needs a libtorch with CUDA, and {place} has no \
             libtorch_cuda.so; run `cargo xtask setup --cuda`"
        );
        return false;
    }
    // The folders of NVIDIA's wheels beside torch, and a toolkit of the system.
    let wheels = libraries.join("../../nvidia");
    let wheels = std::fs::read_dir(wheels).into_iter().flatten().flatten();
    let toolkit = std::env::var_os("CUDA_HOME").map(PathBuf::from);
    let toolkit = toolkit.unwrap_or_else(|| Path::new("/usr/local/cuda").into());
    for folder in wheels.map(|entry| entry.path()).chain([toolkit]) {
        for part in ["include", "include/cccl"] {
            let headers = folder.join(part);
            if headers.is_dir() {
                build.include(headers);
            }
        }
    }
    build.define("USE_C10D_NCCL", None).define("USE_CUDA", None);
    println!("cargo:rustc-link-lib=torch_cuda");
    true
}
