//! Memory for Rust's own allocations. Where there is none, the process says so in a sentence and ends: the
//! standard library's report takes memory itself, and can wait for itself without end.
// An allocator is unsafe by its interface.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Write as _;

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
    let mut text = [0; 512];
    let mut rest = &mut text[..];
    let megabytes = bytes as f64 / 1e6;
    // Numbers and text in a buffer: nothing here takes memory.
    let _ = writeln!(
        rest,
        "error: not enough memory: {megabytes:.1} MB more were asked for\nhelp: {REMEDY}"
    );
    let written = 512 - rest.len();
    // SAFETY: a buffer of ours and its length; the last call does not return.
    unsafe {
        libc::write(2, text.as_ptr().cast(), written);
        libc::_exit(3)
    }
}
