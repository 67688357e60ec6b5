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
    cc::Build::new()
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
