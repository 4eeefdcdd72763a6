//! Runs that wait for their turn. Each user's come in the order in which they were asked for, and users take turns: whoever uploads a
//! thousand files keeps the others waiting for one run each. When there is no more room, whoever has most waiting loses one.

use std::collections::{HashMap, VecDeque};

/// What waits, by its owner.
#[derive(Debug)]
pub struct Waiting<T> {
    room: usize,
    count: usize,
    by_owner: HashMap<String, VecDeque<T>>,
    /// Those of whom anything waits, the next one first.
    turns: VecDeque<String>,
}

impl<T> Waiting<T> {
    /// Room for so many.
    pub fn new(room: usize) -> Self {
        Waiting { room, count: 0, by_owner: HashMap::new(), turns: VecDeque::new() }
    }

    /// How many wait.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Adds one at the end of its owner's. Returns what there is no room for: it, or the last of another who has more waiting.
    pub fn push(&mut self, owner: &str, item: T) -> Option<T> {
        let mut lost = None;
        if self.count >= self.room {
            let own = self.by_owner.get(owner).map_or(0, VecDeque::len);
            let longest = self.by_owner.iter_mut().max_by_key(|(_, items)| items.len());
            let Some((_, items)) = longest.filter(|(_, items)| items.len() > own + 1) else { return Some(item) };
            lost = items.pop_back();
            self.count -= 1;
        }
        if !self.by_owner.contains_key(owner) {
            self.turns.push_back(owner.to_owned());
        }
        self.by_owner.entry(owner.to_owned()).or_default().push_back(item);
        self.count += 1;
        lost
    }

    /// Takes the next one.
    pub fn pop(&mut self) -> Option<T> {
        let owner = self.turns.pop_front()?;
        let items = self.by_owner.get_mut(&owner)?;
        let item = items.pop_front();
        if items.is_empty() {
            self.by_owner.remove(&owner);
        } else {
            self.turns.push_back(owner);
        }
        self.count -= usize::from(item.is_some());
        item
    }

    /// Takes all away; how many there were.
    pub fn clear(&mut self) -> usize {
        self.by_owner.clear();
        self.turns.clear();
        std::mem::take(&mut self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(waiting: &mut Waiting<u32>) -> Vec<u32> {
        std::iter::from_fn(|| waiting.pop()).collect()
    }

    #[test]
    fn users_take_turns_and_each_ones_come_in_order() {
        let mut waiting = Waiting::new(100);
        for n in [10, 11, 12] {
            assert_eq!(waiting.push("alice", n), None);
        }
        waiting.push("bob", 20);
        waiting.push("carol", 30);
        waiting.push("bob", 21);
        assert_eq!(waiting.count(), 6);
        assert_eq!(all(&mut waiting), [10, 20, 30, 11, 21, 12]);
        assert_eq!((waiting.count(), waiting.by_owner.len(), waiting.turns.len()), (0, 0, 0));
    }

    #[test]
    fn who_floods_it_loses_and_the_others_do_not() {
        let mut waiting = Waiting::new(5);
        let lost: Vec<_> = (0..8).filter_map(|n| waiting.push("mallory", n)).collect();
        assert_eq!(lost, [5, 6, 7], "what comes last of a flood");
        assert_eq!(waiting.push("alice", 10), Some(4));
        assert_eq!(waiting.push("alice", 11), Some(3));
        assert_eq!(waiting.push("alice", 12), Some(12), "with as many as that she is no better");
        assert_eq!(waiting.push("mallory", 13), Some(13));
        assert_eq!(waiting.count(), 5);
        assert_eq!(all(&mut waiting), [0, 10, 1, 11, 2]);
        waiting.push("alice", 1);
        assert_eq!((waiting.clear(), waiting.count(), waiting.pop()), (1, 0, None));
    }
}
