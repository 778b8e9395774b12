//! The allocator's settings: memory that a large request took is given back when it is answered.
#![allow(
    unsafe_code,
    reason = "the C library's allocator is set up by a C function; there is no safe wrapper"
)]

/// To be called once, before there are threads.
///
/// glibc's allocator raises its threshold for blocks of their own up to 32 MiB as it sees large ones
/// freed, and keeps everything below it: after four requests of 30 MB the daemon stayed at 180 MB.
/// A threshold that is set stays where it is, and two arenas are enough for threads that mostly wait.
pub(crate) fn give_large_blocks_back() {
    #[cfg(target_env = "gnu")]
    for (setting, value) in [(libc::M_MMAP_THRESHOLD, 256 << 10), (libc::M_ARENA_MAX, 2)] {
        // SAFETY: mallopt only stores a number; no thread allocates beside this one yet. Its result
        // says whether the setting is known, and an unknown one changes nothing.
        unsafe { libc::mallopt(setting, value) };
    }
}
