//! landlock_create_ruleset(2), for the one thing that the library keeps to itself: which version the kernel has.

/// LANDLOCK_CREATE_RULESET_VERSION of `linux/landlock.h`.
const VERSION: libc::c_uint = 1;

/// The version of the kernel's Landlock; `None` where it has none or it is switched off.
pub fn version() -> Option<i32> {
    // SAFETY: with this flag the kernel takes no pointer, touches no memory and makes no descriptor.
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0usize, VERSION) };
    i32::try_from(version).ok().filter(|version| *version > 0)
}
