//! The heap: memory that was freed goes back to the kernel when asked (malloc_trim(3)). By itself the C library keeps what lies between
//! things that are still in use, and some of what lies above them, to have it ready for more: a process that will do nothing for
//! long needs none of it.

/// Has all threads, of this process and of those that it forks, allocate from one heap. By itself the C library makes another for each
/// thread, and of those it gives nothing back once the thread has ended. To be called before there are threads.
pub fn one_for_all_threads() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt(3) sets a number; no other thread allocates yet, which it would have to be kept from.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1)
    };
}

/// Does `work` in a thread, for whose memory the C library makes another heap as long as [`one_for_all_threads`] has not been called, and
/// copies what came of it. What is made and thrown away there leaves no holes in the first heap, from which forked children take what they
/// need: each page with a hole would be one more that a child copies. The other heap is as good as empty afterwards: a thread of such
/// a child is given it, and finds no holes either. Where no thread can be had it is done here: the heap is then what it would be without.
pub fn elsewhere<T: Clone + Send, E: Send>(work: impl Fn() -> Result<T, E> + Send + Sync) -> Result<T, E> {
    let there = in_a_thread(&work).unwrap_or_else(work)?;
    let here = there.clone();
    in_a_thread(|| drop(there)); // by a thread that is given that heap: this one would keep pieces of it for itself
    trim(); // joins the other pieces into one, which otherwise the first to allocate there would do, in each child
    Ok(here)
}

/// Does it in a thread, where one can be had.
fn in_a_thread<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, work).ok()?;
        Some(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

/// Gives back what is free, as whole pages. Takes some microseconds for each free piece.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) may be called at any time, from any thread; it touches no memory that is allocated.
    unsafe {
        libc::malloc_trim(0)
    };
}
