//! Memory that a forked child does not get: there it is empty (`MADV_WIPEONFORK`, madvise(2)). So a child can read nothing of it, a fork
//! copies neither its pages nor the tables that lead to them, and a parent that goes on writing leaves no old page behind with a child.

use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap_anonymous, munmap};
use std::ffi::c_void;
use std::io;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::num::NonZeroUsize;
use std::ptr::NonNull;

/// A row of values, each there or not. In a forked child none is.
///
/// Values are copied in and out, never lent: across a fork, what a reference leads to would be gone in the child.
pub struct Unforked<T> {
    base: NonNull<c_void>,
    count: usize,
    length: usize,
    values: PhantomData<T>,
}

/// One place. All zeros, as the kernel gives and leaves them, is an empty one.
#[repr(C)]
struct Place<T> {
    is_there: bool,
    value: MaybeUninit<T>,
}

impl<T: Copy> Unforked<T> {
    /// Maps `count` empty places. Those that are never filled cost no memory.
    pub fn new(count: usize) -> io::Result<Self> {
        let size = size_of::<Place<T>>();
        let length = count.checked_mul(size).and_then(NonZeroUsize::new).ok_or(io::ErrorKind::InvalidInput)?;
        let (prot, flags) = (ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_PRIVATE);
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches nothing that exists.
        let base = unsafe { mmap_anonymous(None, length, prot, flags) }?;
        let new = Unforked { base, count, length: length.get(), values: PhantomData };
        // SAFETY: the range is the new mapping, of which nothing is used yet. The advice changes what a child of a fork finds there, zeros,
        // which are places without a value.
        unsafe { madvise(base, length.get(), MmapAdvise::MADV_WIPEONFORK) }?;
        Ok(new)
    }

    /// The value at a place; `None` where there is none, and no such place.
    pub fn get(&self, at: usize) -> Option<T> {
        // SAFETY: the place lies within the mapping (`place`), which lives as long as `self`, and is aligned: a page is, and the size of a place
        // is a multiple of its alignment. Its flag is zero or was written by `set`; the value is read where `set` wrote one. No fork comes
        // between the two reads: the child of another thread's fork has no thread that reads here.
        unsafe {
            let place = self.place(at)?.as_ptr();
            (*place).is_there.then(|| (*place).value.assume_init())
        }
    }

    /// Fills or empties a place. `false` if there is no such place.
    pub fn set(&mut self, at: usize, value: Option<T>) -> bool {
        let Some(place) = self.place(at) else { return false };
        let is_there = value.is_some();
        // The whole value goes when it goes: nothing of it stays readable.
        let value = value.map_or(MaybeUninit::zeroed(), MaybeUninit::new);
        // SAFETY: as in `get`; nobody reads meanwhile, since `self` is borrowed mutably.
        unsafe { place.write(Place { is_there, value }) };
        true
    }

    fn place(&self, at: usize) -> Option<NonNull<Place<T>>> {
        // SAFETY: the product is less than the length of the mapping.
        (at < self.count).then(|| unsafe { self.base.cast::<Place<T>>().add(at) })
    }
}

impl<T> Drop for Unforked<T> {
    fn drop(&mut self) {
        // SAFETY: the whole mapping, which a child has as well; nothing was lent of it.
        let _ = unsafe { munmap(self.base, self.length) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fork::exit_child;
    use nix::sys::wait::{WaitStatus, waitpid};

    #[test]
    fn what_is_set_is_there_until_it_is_taken_away_and_a_place_that_is_none_holds_nothing() {
        let mut row = Unforked::new(3).unwrap();
        assert_eq!((0..4).map(|at| row.get(at)).collect::<Vec<_>>(), [None; 4]);
        assert!(row.set(0, Some([7u8; 5])) && row.set(2, Some([0; 5])) && !row.set(3, Some([1; 5])));
        assert_eq!((0..4).map(|at| row.get(at)).collect::<Vec<_>>(), [Some([7; 5]), None, Some([0; 5]), None]);
        assert!(row.set(0, None));
        assert_eq!(row.get(0), None);
        assert!(Unforked::<u8>::new(0).is_err() && Unforked::<u64>::new(usize::MAX / 8).is_err());
    }

    #[test]
    fn a_forked_child_finds_every_place_empty_and_the_parent_all_filled() {
        let mut row = Unforked::new(2000).unwrap();
        (0..2000).for_each(|at| assert!(row.set(at, Some(at))));
        // SAFETY: the child reads memory that is its own, and ends.
        match unsafe { nix::unistd::fork() }.unwrap() {
            nix::unistd::ForkResult::Child => exit_child((0..2000).filter_map(|at| row.get(at)).count().min(1) as u8),
            nix::unistd::ForkResult::Parent { child } => {
                assert_eq!(waitpid(child, None), Ok(WaitStatus::Exited(child, 0)));
            }
        }
        assert!((0..2000).all(|at| row.get(at) == Some(at)));
    }
}
