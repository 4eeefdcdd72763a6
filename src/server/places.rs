//! Numbered places that are taken and given back. Those that were in use come first, and no list is kept of those that never were: of a
//! table with room for many, the pages that few need are touched.

use std::collections::HashSet;

/// Which places are free.
#[derive(Debug)]
pub struct Places {
    count: usize,
    /// So many have been in use at some time: the lowest ones.
    used: usize,
    free: Vec<usize>,
}

impl Places {
    /// So many places, all free.
    pub fn new(count: usize) -> Self {
        Places { count, used: 0, free: Vec::new() }
    }

    /// The same, where some of them are taken already.
    pub fn with_taken(count: usize, taken: &[usize]) -> Self {
        let taken: HashSet<usize> = taken.iter().copied().filter(|place| *place < count).collect();
        let used = taken.iter().max().map_or(0, |last| last + 1);
        Places { count, used, free: (0..used).rev().filter(|place| !taken.contains(place)).collect() }
    }

    /// Takes a free place, if there is one.
    pub fn take(&mut self) -> Option<usize> {
        if let Some(place) = self.free.pop() {
            return Some(place);
        }
        let place = (self.used < self.count).then_some(self.used)?;
        self.used += 1;
        Some(place)
    }

    /// Frees a place that was taken.
    pub fn give_back(&mut self, place: usize) {
        self.free.push(place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_that_were_taken_before_are_given_to_nobody_and_those_between_them_are() {
        let mut places = Places::with_taken(5, &[3, 1]);
        assert_eq!(std::iter::from_fn(|| places.take()).collect::<Vec<_>>(), [0, 2, 4]);
        places.give_back(3);
        assert_eq!(places.take(), Some(3));
    }

    #[test]
    fn nobody_gets_a_place_that_is_taken_and_each_that_is_free_can_be_had() {
        let mut places = Places::new(3);
        assert_eq!([places.take(), places.take()], [Some(0), Some(1)]);
        places.give_back(0);
        assert_eq!([places.take(), places.take(), places.take()], [Some(0), Some(2), None]);
        places.give_back(2);
        places.give_back(1);
        assert_eq!([places.take(), places.take(), places.take()], [Some(1), Some(2), None]);
    }
}
