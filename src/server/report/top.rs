//! A table that strangers cannot make grow: who counts most stays, the rest is one sum.
//!
//! When twice as many names are there as shall be kept, the lighter half goes. A name that comes back begins anew, so its figures may be
//! lower than what happened, by no more than a share of all that the number kept divides: who does much is never lost among those
//! who do little (Misra and Gries, "Finding repeated elements", 1982).

use std::collections::HashMap;

/// What stands beside a name.
pub trait Counted: Default {
    /// How much it counts.
    fn weight(&self) -> u64;
    /// Adds the figures of another.
    fn absorb(&mut self, other: Self);
}

/// Rows by name, not too many.
#[derive(Debug, Clone)]
pub struct Top<V> {
    rows: HashMap<String, V>,
    keep: usize,
    longest: usize,
    others: V,
    overflown: bool,
}

impl<V: Counted> Top<V> {
    /// An empty one that keeps so many names, of no more than so many characters each.
    pub fn new(keep: usize, longest: usize) -> Self {
        Top { rows: HashMap::new(), keep, longest, others: V::default(), overflown: false }
    }

    /// The row of a name.
    pub fn at(&mut self, name: &str) -> &mut V {
        let name = clipped(name, self.longest);
        if !self.rows.contains_key(name) && self.rows.len() >= 2 * self.keep {
            self.prune();
        }
        match self.rows.contains_key(name) {
            true => self.rows.get_mut(name).unwrap_or(&mut self.others), // it is there
            false => self.rows.entry(name.to_owned()).or_default(),
        }
    }

    /// The heaviest rows, the first the heaviest, and the sum of the others.
    pub fn ranked(mut self) -> Ranked<V> {
        if self.rows.len() > self.keep {
            self.prune();
        }
        let mut rows: Vec<_> = self.rows.into_iter().collect();
        rows.sort_by(|(a, x), (b, y)| y.weight().cmp(&x.weight()).then_with(|| a.cmp(b)));
        Ranked { rows, others: self.overflown.then_some(self.others) }
    }

    fn prune(&mut self) {
        self.overflown = true;
        let mut rows: Vec<_> = self.rows.drain().collect();
        let heavier = |(a, x): &(String, V), (b, y): &(String, V)| y.weight().cmp(&x.weight()).then_with(|| a.cmp(b));
        if self.keep < rows.len() {
            rows.select_nth_unstable_by(self.keep, heavier);
            for (_, row) in rows.drain(self.keep..) {
                self.others.absorb(row);
            }
        }
        self.rows.extend(rows);
    }
}

/// The rows of a table in their order.
#[derive(Debug, Clone)]
pub struct Ranked<V> {
    /// The heaviest first.
    pub rows: Vec<(String, V)>,
    /// What those counted that found no room, if any.
    pub others: Option<V>,
}

/// The beginning of a text, of so many characters at most.
pub fn clipped(text: &str, characters: usize) -> &str {
    if text.len() <= characters {
        return text;
    }
    text.char_indices().nth(characters).and_then(|(at, _)| text.get(..at)).unwrap_or(text)
}

/// How often.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count(pub u64);

impl Counted for Count {
    fn weight(&self) -> u64 {
        self.0
    }

    fn absorb(&mut self, other: Self) {
        self.0 = self.0.saturating_add(other.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_counts_most_stays_whoever_comes_in_between_and_nothing_is_lost() {
        let mut top: Top<Count> = Top::new(10, 32);
        for n in 0..100_000 {
            top.at(&format!("stranger {n}")).0 += 1;
            if n % 100 == 0 {
                top.at("often").0 += 1;
            }
            assert!(top.rows.len() <= 20);
        }
        let ranked = top.ranked();
        assert_eq!(ranked.rows.len(), 10);
        assert_eq!(ranked.rows[0].0, "often");
        let kept: u64 = ranked.rows.iter().map(|(_, count)| count.0).sum();
        assert_eq!(kept + ranked.others.unwrap().0, 101_000);
    }

    #[test]
    fn few_names_are_all_there_and_long_ones_are_cut() {
        let mut top: Top<Count> = Top::new(2, 3);
        top.at("b").0 += 1;
        top.at("äöüß").0 += 2;
        let ranked = top.ranked();
        assert_eq!(ranked.rows, [("äöü".to_owned(), Count(2)), ("b".to_owned(), Count(1))]);
        assert!(ranked.others.is_none());
    }
}
