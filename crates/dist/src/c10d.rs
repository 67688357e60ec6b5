//! The foreign interface to c10d: stores and groups. `csrc/group.cpp` is the other side.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::NonNull;

use tch::Tensor;
use torch_sys::C_tensor;

use crate::{Error, Result};

#[repr(C)]
struct RawStore {
    _private: [u8; 0],
}

#[repr(C)]
struct RawGroup {
    _private: [u8; 0],
}

#[repr(C)]
struct RawWork {
    _private: [u8; 0],
}

type Take = extern "C" fn(*mut c_void, *const u8, usize);

unsafe extern "C" {
    fn dist_message() -> *const c_char;
    fn dist_quiet();
    fn dist_engine(out: *mut c_char, size: usize) -> c_int;
    fn dist_excess(out: *mut usize) -> c_int;
    fn dist_tcp_store(
        host: *const c_char,
        port: u16,
        serve: c_int,
        limit: i64,
        prefix: *const c_char,
        out: *mut *mut RawStore,
    ) -> c_int;
    fn dist_file_store(
        path: *const c_char,
        limit: i64,
        prefix: *const c_char,
        out: *mut *mut RawStore,
    ) -> c_int;
    fn dist_set(store: *mut RawStore, key: *const c_char, bytes: *const u8, count: usize) -> c_int;
    fn dist_has(store: *mut RawStore, key: *const c_char, out: *mut c_int) -> c_int;
    fn dist_get(store: *mut RawStore, key: *const c_char, take: Take, into: *mut c_void) -> c_int;
    fn dist_add(store: *mut RawStore, key: *const c_char, number: i64, out: *mut i64) -> c_int;
    fn dist_gloo(
        store: *mut RawStore,
        address: *const c_char,
        rank: c_int,
        size: c_int,
        limit: i64,
        out: *mut *mut RawGroup,
    ) -> c_int;
    #[cfg(feature = "nccl")]
    fn dist_gpu(device: c_int, out: *mut u8) -> c_int;
    #[cfg(feature = "nccl")]
    fn dist_nccl(
        store: *mut RawStore,
        rank: c_int,
        size: c_int,
        limit: i64,
        out: *mut *mut RawGroup,
    ) -> c_int;
    fn dist_patience(group: *mut RawGroup, limit: i64) -> c_int;
    fn dist_all_gather(
        group: *mut RawGroup,
        out: *mut C_tensor,
        own: *mut C_tensor,
        begun: *mut *mut RawWork,
    ) -> c_int;
    fn dist_all_to_all(
        group: *mut RawGroup,
        out: *mut C_tensor,
        own: *mut C_tensor,
        begun: *mut *mut RawWork,
    ) -> c_int;
    fn dist_all_reduce(group: *mut RawGroup, sum: *mut C_tensor, begun: *mut *mut RawWork)
    -> c_int;
    fn dist_wait(work: *mut RawWork) -> c_int;
    fn dist_drop_work(work: *mut RawWork);
    fn dist_drop_store(store: *mut RawStore);
    fn dist_drop_group(group: *mut RawGroup);
}

/// The engine's message for a call that returned `code`.
fn checked(code: c_int) -> std::result::Result<(), String> {
    if code == 0 {
        return Ok(());
    }
    // SAFETY: the message is a string of this thread that stays until its next failed call.
    let message = unsafe { CStr::from_ptr(dist_message()) };
    let message = message.to_string_lossy();
    // The first line; the others are the engine's own stack.
    Err(message.lines().next().unwrap_or_default().to_owned())
}

fn c_string(text: &str) -> CString {
    // Nothing of ours has a zero inside.
    CString::new(text.replace('\0', "")).unwrap_or_default()
}

/// Keeps the engine from writing to stderr: its messages are in the errors.
pub(crate) fn quiet() {
    // SAFETY: sets a number.
    unsafe { dist_quiet() }
}

/// libtorch's version and set of instructions.
pub(crate) fn capability() -> String {
    let mut text = [0 as c_char; 64];
    // SAFETY: writes at most as many bytes as it is told, the last of them 0.
    let code = unsafe { dist_engine(text.as_mut_ptr(), text.len()) };
    match checked(code) {
        // SAFETY: ends with 0, as above.
        Ok(()) => unsafe { CStr::from_ptr(text.as_ptr()) }
            .to_string_lossy()
            .into_owned(),
        Err(message) => message,
    }
}

/// What identifies a GPU of this host.
#[cfg(feature = "nccl")]
pub(crate) fn gpu(device: usize) -> Said<[u8; 16]> {
    let mut id = [0; 16];
    // SAFETY: writes 16 bytes.
    checked(unsafe { dist_gpu(narrow(device), id.as_mut_ptr()) })?;
    Ok(id)
}

pub(crate) fn excess() -> Result<usize> {
    let mut bytes = 0;
    // SAFETY: writes one number.
    let code = unsafe { dist_excess(&mut bytes) };
    checked(code).map_err(|reason| Error::Exchange {
        op: "a group of one",
        reason,
    })?;
    Ok(bytes)
}

/// Keys and values that all members see.
#[derive(Debug)]
pub(crate) struct Store(NonNull<RawStore>);

// SAFETY: c10d's stores lock each operation.
unsafe impl Send for Store {}
// SAFETY: as above.
unsafe impl Sync for Store {}

/// The engine's message.
pub(crate) type Said<T> = std::result::Result<T, String>;

impl Store {
    pub(crate) fn tcp(host: &str, port: u16, serves: bool, limit: i64, prefix: &str) -> Said<Self> {
        let mut store = std::ptr::null_mut();
        let (host, prefix) = (c_string(host), c_string(prefix));
        // SAFETY: the strings outlive the call, which sets `store` if it returns 0.
        checked(unsafe {
            dist_tcp_store(
                host.as_ptr(),
                port,
                serves.into(),
                limit,
                prefix.as_ptr(),
                &mut store,
            )
        })?;
        NonNull::new(store)
            .map(Self)
            .ok_or_else(|| "no store".into())
    }

    pub(crate) fn file(path: &str, limit: i64, prefix: &str) -> Said<Self> {
        let mut store = std::ptr::null_mut();
        let (path, prefix) = (c_string(path), c_string(prefix));
        // SAFETY: as above.
        checked(unsafe { dist_file_store(path.as_ptr(), limit, prefix.as_ptr(), &mut store) })?;
        NonNull::new(store)
            .map(Self)
            .ok_or_else(|| "no store".into())
    }

    pub(crate) fn set(&self, key: &str, value: &str) -> Said<()> {
        let key = c_string(key);
        // SAFETY: key and value outlive the call.
        checked(unsafe { dist_set(self.0.as_ptr(), key.as_ptr(), value.as_ptr(), value.len()) })
    }

    pub(crate) fn has(&self, key: &str) -> Said<bool> {
        let (key, mut has) = (c_string(key), 0);
        // SAFETY: the key outlives the call, which writes one number.
        checked(unsafe { dist_has(self.0.as_ptr(), key.as_ptr(), &mut has) })?;
        Ok(has != 0)
    }

    /// The value of a key that is there; `None` if it is not.
    pub(crate) fn get(&self, key: &str) -> Said<Option<String>> {
        extern "C" fn take(into: *mut c_void, bytes: *const u8, count: usize) {
            // SAFETY: `into` is the vector below, and the bytes are valid during the call.
            unsafe {
                let into = &mut *into.cast::<Vec<u8>>();
                if count > 0 {
                    into.extend_from_slice(std::slice::from_raw_parts(bytes, count));
                }
            }
        }
        if !self.has(key)? {
            return Ok(None);
        }
        let (key, mut value) = (c_string(key), Vec::<u8>::new());
        let into: *mut Vec<u8> = &mut value;
        // SAFETY: key and vector outlive the call.
        checked(unsafe { dist_get(self.0.as_ptr(), key.as_ptr(), take, into.cast()) })?;
        Ok(Some(String::from_utf8_lossy(&value).into_owned()))
    }

    /// Adds to a number, and returns the sum.
    pub(crate) fn add(&self, key: &str, number: i64) -> Said<i64> {
        let (key, mut sum) = (c_string(key), 0);
        // SAFETY: the key outlives the call, which writes one number.
        checked(unsafe { dist_add(self.0.as_ptr(), key.as_ptr(), number, &mut sum) })?;
        Ok(sum)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // SAFETY: made by the other side, dropped once.
        unsafe { dist_drop_store(self.0.as_ptr()) }
    }
}

/// c10d's group of processes.
#[derive(Debug)]
pub(crate) struct Backend(NonNull<RawGroup>);

fn narrow(number: usize) -> c_int {
    c_int::try_from(number).unwrap_or(c_int::MAX)
}

impl Backend {
    /// Over TCP, for tensors on the CPU.
    pub(crate) fn gloo(
        store: &Store,
        address: &str,
        rank: usize,
        size: usize,
        limit: i64,
    ) -> Said<Self> {
        let (address, mut group) = (c_string(address), std::ptr::null_mut());
        // SAFETY: the group keeps the store alive by a count of its own; the call sets `group` if
        // it returns 0.
        checked(unsafe {
            dist_gloo(
                store.0.as_ptr(),
                address.as_ptr(),
                narrow(rank),
                narrow(size),
                limit,
                &mut group,
            )
        })?;
        NonNull::new(group)
            .map(Self)
            .ok_or_else(|| "no group".into())
    }

    /// Between GPUs.
    #[cfg(feature = "nccl")]
    pub(crate) fn nccl(store: &Store, rank: usize, size: usize, limit: i64) -> Said<Self> {
        let mut group = std::ptr::null_mut();
        // SAFETY: as above.
        checked(unsafe {
            dist_nccl(
                store.0.as_ptr(),
                narrow(rank),
                narrow(size),
                limit,
                &mut group,
            )
        })?;
        NonNull::new(group)
            .map(Self)
            .ok_or_else(|| "no group".into())
    }

    pub(crate) fn patience(&self, limit: i64) -> Said<()> {
        // SAFETY: the group is valid.
        checked(unsafe { dist_patience(self.0.as_ptr(), limit) })
    }

    /// `own` of all members into `out`; both contiguous, on the CPU for Gloo.
    pub(crate) fn all_gather(&self, out: &Tensor, own: &Tensor) -> Said<Work> {
        let mut work = std::ptr::null_mut();
        let (to, from) = (out.as_ptr().cast_mut(), own.as_ptr().cast_mut());
        // SAFETY: C_tensor is at::Tensor. The engine writes into the tensor's memory until the exchange has
        // ended, and holds both tensors as long; nobody else has seen `out`.
        checked(unsafe { dist_all_gather(self.0.as_ptr(), to, from, &mut work) })?;
        Work::begun(work)
    }

    pub(crate) fn all_to_all(&self, out: &Tensor, own: &Tensor) -> Said<Work> {
        let mut work = std::ptr::null_mut();
        let (to, from) = (out.as_ptr().cast_mut(), own.as_ptr().cast_mut());
        // SAFETY: as above.
        checked(unsafe { dist_all_to_all(self.0.as_ptr(), to, from, &mut work) })?;
        Work::begun(work)
    }

    pub(crate) fn all_reduce(&self, sum: &Tensor) -> Said<Work> {
        let mut work = std::ptr::null_mut();
        // SAFETY: as above.
        checked(unsafe { dist_all_reduce(self.0.as_ptr(), sum.as_ptr().cast_mut(), &mut work) })?;
        Work::begun(work)
    }
}

/// An exchange under way.
#[derive(Debug)]
pub(crate) struct Work(NonNull<RawWork>);

impl Work {
    fn begun(work: *mut RawWork) -> Said<Self> {
        NonNull::new(work)
            .map(Self)
            .ok_or_else(|| "no exchange".into())
    }

    /// Returns when the exchange has ended, or is queued on the GPU, whose allocator keeps the memory until
    /// then.
    pub(crate) fn wait(&self) -> Said<()> {
        // SAFETY: the work is valid.
        checked(unsafe { dist_wait(self.0.as_ptr()) })
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // SAFETY: made by the other side, dropped once; the engine holds what still runs.
        unsafe { dist_drop_work(self.0.as_ptr()) }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        // SAFETY: made by the other side, dropped once.
        unsafe { dist_drop_group(self.0.as_ptr()) }
    }
}
