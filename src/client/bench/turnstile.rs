//! Lets a few in at a time: a server that met all clients of a load test in one instant would take them for a flood.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// A number of places.
pub struct Turnstile {
    free: Mutex<usize>,
    changed: Condvar,
}

impl Turnstile {
    /// With so many places, one at least.
    pub fn new(places: usize) -> Self {
        Turnstile { free: Mutex::new(places.max(1)), changed: Condvar::new() }
    }

    /// Does `work` as soon as there is a place.
    pub fn pass<T>(&self, work: impl FnOnce() -> T) -> T {
        let mut free = self.lock();
        while *free == 0 {
            free = self.changed.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
        *free -= 1;
        drop(free);
        let done = work();
        *self.lock() += 1;
        self.changed.notify_one();
        done
    }

    fn lock(&self) -> MutexGuard<'_, usize> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn no_more_than_the_places_are_inside_at_once_and_all_get_through() {
        let (turnstile, inside, most) = (Turnstile::new(2), AtomicUsize::new(0), AtomicUsize::new(0));
        // Both places are taken before either is left, so that a turnstile with one place would never open.
        let both = Barrier::new(2);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    turnstile.pass(|| {
                        most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        both.wait();
                        inside.fetch_sub(1, Ordering::SeqCst);
                    });
                });
            }
        });
        assert_eq!(most.into_inner(), 2);
    }
}
