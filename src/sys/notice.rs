//! A number that one process writes and many read: a page of memory that is mapped twice, once to be written and once to be read
//! alone. The second mapping is of the file as opened to be read: who keeps that one only can never make it writable, whatever it
//! calls (mprotect(2), EACCES).

use super::page::page_size;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

/// The mapping that writes, and the file behind it, to be handed over. A child that is not to write drops both.
pub struct Notice(Page, File);

/// The mapping that only reads.
pub struct Sight(Page);

/// One page, mapped as long as this lives.
struct Page {
    base: NonNull<c_void>,
    length: NonZeroUsize,
}

/// Makes both, the number zero.
pub fn notice() -> io::Result<(Notice, Sight)> {
    let length = NonZeroUsize::new(page_size()?).ok_or(io::ErrorKind::Unsupported)?;
    let file: File = memfd_create(c"dfos-notice", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?.into();
    file.set_len(length.get() as u64)?;
    let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
    resume(file)
}

/// Both, as another program left them: who sees the number now goes on seeing it.
pub fn resume(file: File) -> io::Result<(Notice, Sight)> {
    let length = NonZeroUsize::new(page_size()?).ok_or(io::ErrorKind::Unsupported)?;
    if file.metadata()?.len() < length.get() as u64 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let read = File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    let sight = Sight(Page::map(&read, length, ProtFlags::PROT_READ)?);
    let written = Page::map(&file, length, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE)?;
    Ok((Notice(written, file), sight))
}

impl Notice {
    /// The file, to be handed over.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.1.as_fd()
    }

    /// Puts the number up.
    pub fn put(&self, number: u64) {
        self.0.number().store(number, Ordering::Release);
    }

    /// The number that stands there.
    pub fn get(&self) -> u64 {
        self.0.number().load(Ordering::Acquire)
    }
}

impl Sight {
    /// The number that stands there.
    pub fn get(&self) -> u64 {
        self.0.number().load(Ordering::Acquire)
    }
}

impl Page {
    fn map(file: &File, length: NonZeroUsize, prot: ProtFlags) -> io::Result<Page> {
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing that exists; the file is as long as the mapping
        // and can, once it is sealed, no longer be cut.
        let base = unsafe { mmap(None, length, prot, MapFlags::MAP_SHARED, file, 0) }?;
        Ok(Page { base, length })
    }

    fn number(&self) -> &AtomicU64 {
        // SAFETY: the page is mapped as long as `self` lives, aligned, and other processes change it through atomics alone. Through a
        // `Sight` it is only loaded from.
        unsafe { self.base.cast().as_ref() }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: the whole mapping, of which nothing is borrowed any more.
        let _ = unsafe { munmap(self.base, self.length.get()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::errno::Errno;
    use nix::sys::mman::mprotect;

    #[test]
    fn what_one_side_puts_up_the_other_sees_and_cannot_change() {
        let (notice, sight) = notice().unwrap();
        assert_eq!(sight.get(), 0);
        notice.put(7);
        assert_eq!((sight.get(), notice.get()), (7, 7));
        let both = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: the change is refused; were it not, nothing would be written all the same.
        let changed = unsafe { mprotect(sight.0.base, sight.0.length.get(), both) };
        assert_eq!(changed, Err(Errno::EACCES));
        drop(notice);
        assert_eq!(sight.get(), 7);
    }
}
