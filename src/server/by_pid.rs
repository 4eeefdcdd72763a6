//! What the listener knows of its sessions, by process. To a session these are other people's names and addresses: it lies in memory that is
//! empty in every child, and that a fork has nothing of to copy.

use super::places::Places;
use crate::sys::unforked::Unforked;
use nix::unistd::Pid;
use std::collections::HashMap;
use std::io;

/// A table of values that have nothing on the heap.
pub struct ByPid<T> {
    /// Where the value of a process lies. Numbers alone: they say nothing of anybody.
    at: HashMap<Pid, usize>,
    places: Places,
    values: Unforked<T>,
}

impl<T: Copy> ByPid<T> {
    /// An empty table for `count` processes at a time.
    pub fn new(count: usize) -> io::Result<Self> {
        Ok(ByPid { at: HashMap::new(), places: Places::new(count), values: Unforked::new(count)? })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.at.len()
    }

    /// Sets the value of a process. A new one that finds no place is not kept: there are as many as there can be processes.
    pub fn insert(&mut self, pid: Pid, value: T) {
        let Some(at) = self.at.get(&pid).copied().or_else(|| self.places.take()) else { return };
        self.values.set(at, Some(value));
        self.at.insert(pid, at);
    }

    /// The value of a process.
    pub fn get(&self, pid: Pid) -> Option<T> {
        self.values.get(*self.at.get(&pid)?)
    }

    /// Takes the value of a process away.
    pub fn remove(&mut self, pid: Pid) -> Option<T> {
        let at = self.at.remove(&pid)?;
        let value = self.values.get(at);
        self.values.set(at, None);
        self.places.give_back(at);
        value
    }

    /// All processes, in no order.
    pub fn pids(&self) -> impl Iterator<Item = Pid> {
        self.at.keys().copied()
    }

    /// All processes and their values, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (Pid, T)> {
        self.at.iter().filter_map(|(pid, at)| Some((*pid, self.values.get(*at)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_process_has_its_own_value_and_places_are_used_again() {
        let (mut table, pid) = (ByPid::new(3).unwrap(), Pid::from_raw);
        for round in 0..5 {
            for n in 1..=4 {
                table.insert(pid(n), n + round);
            }
            assert_eq!((table.count(), table.get(pid(4))), (3, None), "no place for a fourth");
            table.insert(pid(2), 20 + round);
            let mut all: Vec<_> = table.iter().collect();
            all.sort();
            assert_eq!(all, [(pid(1), 1 + round), (pid(2), 20 + round), (pid(3), 3 + round)]);
            for n in [2, 3, 1] {
                assert_eq!(table.remove(pid(n)), all.iter().find(|(of, _)| *of == pid(n)).map(|(_, value)| *value));
                assert_eq!((table.remove(pid(n)), table.get(pid(n))), (None, None));
            }
            assert_eq!((table.count(), table.pids().count()), (0, 0));
        }
    }
}
