//! The allocator of every program of the house: the C library's. While a process asks for it, what is freed is overwritten first:
//! whatever had a secret in it, here or in a library written in Rust, then needs no care of its own.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, Ordering};

#[global_allocator]
static ALLOCATOR: Wiping = Wiping { wipes: AtomicBool::new(false) };

/// From now on, what this process frees is overwritten first, or no longer. Costs a look at one flag where it is off.
pub fn wipe_what_is_freed(wipe: bool) {
    ALLOCATOR.wipes.store(wipe, Ordering::Relaxed);
}

struct Wiping {
    wipes: AtomicBool,
}

impl Wiping {
    fn wipes(&self) -> bool {
        self.wipes.load(Ordering::Relaxed)
    }
}

// SAFETY: all memory is the system's, asked for and given back with the layout that the caller states.
unsafe impl GlobalAlloc for Wiping {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the same contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the same contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        if self.wipes() {
            // SAFETY: so many bytes are the caller's, who will not touch them again. The compiler does not leave this call out, as it
            // may leave out a write to what is freed next (explicit_bzero(3)).
            unsafe { libc::explicit_bzero(memory.cast(), layout.size()) };
        }
        // SAFETY: the caller keeps the same contract.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !self.wipes() {
            // SAFETY: the caller keeps the same contract.
            return unsafe { System.realloc(memory, layout, size) };
        }
        // The system's would free what it moves, or cuts off.
        // SAFETY: the caller has seen to it that the new size, with this alignment, makes a layout.
        let moved = unsafe { self.alloc(Layout::from_size_align_unchecked(size, layout.align())) };
        if !moved.is_null() {
            // SAFETY: both are as long as that, and apart; the old one is the caller's to free, with this layout.
            unsafe {
                memory.copy_to_nonoverlapping(moved, size.min(layout.size()));
                self.dealloc(memory, layout);
            }
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    /// What stands at `at` in this process's memory, whoever has it.
    fn memory(at: usize) -> [u8; 64] {
        let mut bytes = [0; 64];
        File::open("/proc/self/mem").unwrap().read_exact_at(&mut bytes, at as u64).unwrap();
        bytes
    }

    /// Whether 1 KiB of 0xb9 can still be found in its middle once it was freed, or cut down to little.
    fn stays(wipes: bool, cut: bool) -> bool {
        let allocator = Wiping { wipes: AtomicBool::new(wipes) };
        let layout = Layout::from_size_align(1024, 1).unwrap();
        // SAFETY: the layout has a size; what was allocated is written within it, and freed once, with the layout it has then.
        let at = unsafe {
            let memory = allocator.alloc(layout);
            memory.write_bytes(0xb9, layout.size());
            if cut {
                let little = allocator.realloc(memory, layout, 16);
                assert_eq!(*little.add(15), 0xb9, "what was kept is lost");
                System.dealloc(little, Layout::from_size_align(16, 1).unwrap());
            } else {
                allocator.dealloc(memory, layout);
            }
            memory as usize + 512
        };
        memory(at).iter().filter(|byte| **byte == 0xb9).count() > 32
    }

    #[test]
    fn what_is_freed_is_overwritten_while_that_is_asked_for() {
        for cut in [false, true] {
            assert!(stays(false, cut), "the search finds what is there");
            assert!(!stays(true, cut), "cut down: {cut}");
        }
    }
}
