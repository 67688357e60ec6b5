//! Where a released front finds the run-time library of GCC: it lies in `bin`, the engine deeper.

fn main() {
    println!("cargo::rerun-if-env-changed=SEEING_IN_FLOWING_RELEASE");
    if std::env::var_os("SEEING_IN_FLOWING_RELEASE").is_some() {
        println!("cargo::rustc-link-arg-bins=-Wl,-rpath,$ORIGIN/../lib/seeing-in-flowing");
    }
}
