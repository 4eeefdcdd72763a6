//! Memory shared between a parent and its forked children: one page a slot. It is a file without a name (memfd_create(2)), so that the
//! program that takes the parent's place has it too.

use super::page::page_size;
use super::sealed;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd};
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
    file: File,
}

impl SharedPages {
    /// Maps `count` pages of zeros. Pages that nobody touches cost no memory.
    pub fn new(count: usize) -> io::Result<Self> {
        SharedPages::of(sealed::create(c"dfos-scoreboard")?, count)
    }

    /// Maps `count` pages of `file`, which holds at least those that were in use; more are added as zeros.
    pub fn of(file: File, count: usize) -> io::Result<Self> {
        let page = page_size()?;
        let length = count.checked_mul(page).and_then(NonZeroUsize::new).ok_or(io::ErrorKind::InvalidInput)?;
        let (prot, flags) = (ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_SHARED);
        if file.metadata()?.len() < length.get() as u64 {
            file.set_len(length.get() as u64)?;
        }
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing that exists. The file is as long as the mapping, and no
        // process makes it shorter: it has no name, and sessions have closed it.
        let base = unsafe { mmap(None, length, prot, flags, &file, 0) }?;
        Ok(SharedPages { base, count, page, file })
    }

    /// The file, to be handed over.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
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
