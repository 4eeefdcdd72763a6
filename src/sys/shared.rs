//! Memory shared between a parent and its forked children: one page a slot.

use super::page::page_size;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use std::ffi::c_void;
use std::io;
use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

/// Words in use of a page: half a kilobyte, so that they fit into the smallest page there is.
pub const WORDS: usize = 64;

/// Pages of counters that children share with the process that made them.
pub struct SharedPages {
    base: NonNull<c_void>,
    count: usize,
    /// Bytes of a page: what is smaller cannot be unmapped, and is no place of one's own.
    page: usize,
}

impl SharedPages {
    /// Maps `count` pages of zeros. Pages that nobody touches cost no memory.
    pub fn new(count: usize) -> io::Result<Self> {
        let page = page_size()?;
        let length = count.checked_mul(page).and_then(NonZeroUsize::new).ok_or(io::ErrorKind::InvalidInput)?;
        let (prot, flags) = (ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_SHARED);
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches nothing that exists.
        let base = unsafe { mmap_anonymous(None, length, prot, flags) }?;
        Ok(SharedPages { base, count, page })
    }

    /// The counters of one slot.
    ///
    /// # Panics
    /// If there is no such slot.
    pub fn slot(&self, at: usize) -> &[AtomicU64; WORDS] {
        assert!(at < self.count, "slot {at} of {}", self.count);
        // SAFETY: the page is mapped as long as `self` lives, aligned to its size, larger than the array, and atomics may
        // be written by other processes at any time.
        unsafe { self.base.byte_add(at * self.page).cast().as_ref() }
    }

    /// In a child: unmaps all slots but one, so that the child can neither read nor change another's.
    pub fn keep_only(self, at: usize) -> io::Result<Slot> {
        assert!(at < self.count, "slot {at} of {}", self.count);
        // SAFETY: both ranges lie within the mapping, and `self` is consumed: no slot of them is borrowed any more.
        unsafe {
            if at > 0 {
                munmap(self.base, at * self.page)?;
            }
            if at + 1 < self.count {
                munmap(self.base.byte_add((at + 1) * self.page), (self.count - at - 1) * self.page)?;
            }
            Ok(Slot { page: self.base.byte_add(at * self.page) })
        }
    }
}

/// One slot that a child kept; stays mapped until the child ends.
pub struct Slot {
    page: NonNull<c_void>,
}

// SAFETY: a slot is a page of atomics that stays mapped until the process ends.
unsafe impl Send for Slot {}
// SAFETY: as above.
unsafe impl Sync for Slot {}

impl Slot {
    /// The slot's counters.
    pub fn words(&self) -> &[AtomicU64; WORDS] {
        // SAFETY: the page is never unmapped after `keep_only`, is aligned, and holds atomics.
        unsafe { self.page.cast().as_ref() }
    }
}
