//! Memory that runs out, in Rust's own allocations and in libtorch's: the process says so in a sentence
//! and ends with exit code 3.
//!
//! The standard library's report takes memory itself, and can wait for itself without end. oneDNN uses
//! memory that it was not given, and libtorch's other parts throw where nobody catches.
// An allocator and handlers of signals are unsafe by their interface.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Write as _;
#[cfg(target_os = "linux")]
use std::sync::OnceLock;

/// What helps where memory has run out.
pub const REMEDY: &str = "lower train.batch_size, or raise train.micro_batches, which does the same step in pieces; or \
     lower data.frames, the number of threads or of processes; a checkpoint that was written is whole, \
     and the same command goes on from it";

/// The system's allocator, which ends the process with exit code 3 where it has no memory. A checkpoint
/// that was written is whole, since files are replaced as a whole.
#[derive(Debug)]
pub struct OrEnd;

// SAFETY: everything is the system allocator's.
unsafe impl GlobalAlloc for OrEnd {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those of the system's allocator.
        or_end(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        or_end(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        or_end(unsafe { System.realloc(block, layout, size) }, size)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}

fn or_end(block: *mut u8, bytes: usize) -> *mut u8 {
    if block.is_null() {
        end(bytes)
    }
    block
}

#[cold]
fn end(bytes: usize) -> ! {
    let megabytes = bytes as f64 / 1e6;
    finish(format_args!(
        "error: not enough memory: {megabytes:.1} MB more were asked for\nhelp: {REMEDY}"
    ))
}

/// Ends the process with a sentence. Nothing here takes memory.
fn finish(sentence: std::fmt::Arguments<'_>) -> ! {
    let mut text = [0; 512];
    let mut rest = &mut text[..];
    let _ = writeln!(rest, "{sentence}");
    let written = 512 - rest.len();
    // SAFETY: a buffer of ours and its length; the last call does not return.
    unsafe {
        libc::write(2, text.as_ptr().cast(), written);
        libc::_exit(3)
    }
}

/// From here on a crash of native code for lack of memory ends with a sentence, too: one while the system
/// refuses another 256 MB. Other crashes stay what they are. Does nothing except on Linux.
pub fn tell_lack() {
    #[cfg(target_os = "linux")]
    for (signal, before) in [(libc::SIGSEGV, &FAULT), (libc::SIGABRT, &ABORT)] {
        // SAFETY: zeros are a valid sigaction, with an empty mask; the handler makes system calls alone.
        unsafe {
            let mut own: libc::sigaction = std::mem::zeroed();
            own.sa_sigaction = crashed as *const () as usize;
            own.sa_flags = libc::SA_ONSTACK;
            let mut old: libc::sigaction = std::mem::zeroed();
            if libc::sigaction(signal, std::ptr::null(), &raw mut old) == 0
                && before.set(old).is_ok()
            {
                libc::sigaction(signal, &raw const own, std::ptr::null_mut());
            }
        }
    }
}

/// What the signals did before: the standard library tells a stack that is full.
#[cfg(target_os = "linux")]
static FAULT: OnceLock<libc::sigaction> = OnceLock::new();
#[cfg(target_os = "linux")]
static ABORT: OnceLock<libc::sigaction> = OnceLock::new();

#[cfg(target_os = "linux")]
extern "C" fn crashed(signal: libc::c_int) {
    if !has_room() {
        finish(format_args!(
            "error: not enough memory: less than 256 MB are left\nhelp: {REMEDY}"
        ));
    }
    let before = match signal {
        libc::SIGSEGV => FAULT.get(),
        _ => ABORT.get(),
    };
    // The instruction is run again, and crashes as it would have without this.
    if let Some(before) = before {
        // SAFETY: what the system gave us.
        unsafe { libc::sigaction(signal, before, std::ptr::null_mut()) };
    }
}

/// Whether the system gives another 256 MB.
#[cfg(target_os = "linux")]
fn has_room() -> bool {
    const SIZE: usize = 256 << 20;
    let (access, kind) = (
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
    );
    // SAFETY: a new mapping anywhere, which is given back unused.
    unsafe {
        let place = libc::mmap(std::ptr::null_mut(), SIZE, access, kind, -1, 0);
        place != libc::MAP_FAILED && libc::munmap(place, SIZE) == 0
    }
}
