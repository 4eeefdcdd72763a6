//! The stack as memory that can be given back: the kernel takes its pages away, and the next who comes that deep gets zeros
//! (madvise(2), MADV_DONTNEED).

use super::page::page_size;
use std::mem::MaybeUninit;
use zeroize::Zeroize;

/// Bytes of stack that a handshake or a login can have used: a few deep calls of a cryptographic library.
const DEPTH: usize = 64 * 1024;

/// Wipes what earlier calls have left in the stack below the caller, 64 KiB deep. Whole pages are given back to the
/// kernel, so that a process that was that deep once does not hold them for good; what is left at both ends is overwritten.
#[inline(never)]
pub fn wipe() {
    // Nothing is written to it here: the compiler would do that twice, by way of a second frame of this size.
    let mut frame = [MaybeUninit::<u8>::uninit(); DEPTH];
    let page = page_size().unwrap_or(DEPTH);
    let to_page = frame.as_ptr().align_offset(page).min(DEPTH);
    let (head, rest) = frame.split_at_mut(to_page);
    let (pages, tail) = rest.split_at_mut(rest.len() / page * page);
    // SAFETY: these are whole pages within a local variable of this very function: the kernel takes bytes that nobody else looks at.
    // They lie in private anonymous memory, as every stack does, and so are zeros when they are next touched.
    let given = unsafe { libc::madvise(pages.as_mut_ptr().cast(), pages.len(), libc::MADV_DONTNEED) };
    if given != 0 {
        pages.zeroize();
    }
    head.zeroize();
    tail.zeroize();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Leaves `byte` all over the stack below the caller, and says where.
    #[inline(never)]
    fn litter(byte: u8) -> std::ops::Range<usize> {
        let frame = std::hint::black_box([byte; DEPTH / 2]);
        let from = std::hint::black_box(&frame).as_ptr() as usize;
        from..from + frame.len()
    }

    /// How many bytes of `range` of this process's memory are `byte`.
    fn count(range: std::ops::Range<usize>, byte: u8) -> usize {
        use std::os::unix::fs::FileExt;
        let mut bytes = vec![0; range.len()];
        std::fs::File::open("/proc/self/mem").unwrap().read_exact_at(&mut bytes, range.start as u64).unwrap();
        bytes.into_iter().filter(|found| *found == byte).count()
    }

    #[test]
    fn what_a_call_left_on_the_stack_is_gone() {
        let range = litter(0xa7);
        let before = count(range.clone(), 0xa7);
        wipe();
        let after = count(range.clone(), 0xa7);
        assert!(before > range.len() / 2, "{before} of {}: the search finds what is there", range.len());
        assert!(after < 64, "{after}");
    }
}
